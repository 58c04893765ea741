"""hpedit scorer: calibrate judges on human scores, and evaluate, probe and serve them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Exit, Option, Typer, echo

from hpedit.cli.common import PLAIN, AsJson, Host, Number, Port, SeedOption, print_json, print_result, typed_command
from hpedit.errors import HPEditError

scorer = Typer(name="scorer", help="Calibrate judges on human scores; evaluate and serve them.", **PLAIN)

Edits = Annotated[
    Path | None,
    Option(
        "--edits",
        help="CSV of edits: edit_id, source_id, task. With --cases: parquet of edits, default the build's own.",
    ),
]
Ratings = Annotated[Path, Option("--ratings", help="CSV of ratings: edit_id, rater, score.")]
ScoresTable = Annotated[
    Path | None, Option("--scores", help="CSV of judges' answers: edit_id, judge, a column per question.")
]
Cases = Annotated[Path | None, Option("--cases", help="Ask the judges about this table or `cases build` folder.")]
Cache = Annotated[Path | None, Option("--cache", help="File that caches the judges' answers.")]

FOR_SCORES, FOR_CASES = "it says how to read --scores", "it is for judges that are asked, with --cases"


def check_cases_or_scores(scores: Path | None, cases: Path | None) -> None:
    """HPEditError unless exactly one of --scores and --cases is given."""
    if (scores is None) == (cases is None):
        hint = "--cases asks the judges about the edits; --scores is a table of their answers"
        raise HPEditError("give either --cases or --scores", hint)


def require_edits(edits: Path | None) -> Path:
    """The table of edits that --scores needs; HPEditError if it is missing."""
    if edits is None:
        raise HPEditError("--edits is missing", hint="with --scores it is a CSV of edit_id, source_id, task")
    return edits


def refuse_options(options: Mapping[str, object], reason: str) -> None:
    """HPEditError if one of the options, by name, was given although it has no effect."""
    for name, value in options.items():
        if value:
            raise HPEditError(f"{name} has no effect here: {reason}", hint="leave it out")


@scorer.command("fit")
def scorer_fit(
    ratings: Ratings,
    judge: Annotated[list[str], Option(help="Judge to calibrate, see docs/judges.md; repeat to combine several.")],
    out: Annotated[Path, Option(help="Folder for the fitted scorer.")],
    edits: Edits = None,
    scores: ScoresTable = None,
    cases: Cases = None,
    columns: Annotated[str | None, Option(help="Custom columns' worst and best: realism:0:10,flaws:5:1.")] = None,
    revision: Annotated[str | None, Option(help="Revision of judges on the hub.")] = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Calibrate judges on human ratings.

    With --cases, the judges are asked about the edits and the reasoning questions that help are selected: this is the
    scorer for training and benchmarks. With --scores, their answers are read from a table.
    """
    from hpedit.cli.scorer_tables import fit_text

    check_cases_or_scores(scores, cases)
    if cases:
        refuse_options({"--columns": columns}, FOR_SCORES)
        from hpedit.cases.folder import CasesFolder
        from hpedit.scorer.fitting import fit_judged, load_judges, read_pictures

        pictures = read_pictures(CasesFolder(cases), edits, ratings)
        found = fit_judged(pictures, load_judges(judge, revision, cache), out, revision=revision)[1]
    elif scores:
        refuse_options({"--revision": revision, "--cache": cache}, FOR_CASES)
        from hpedit.scorer.tables.fit_tables import fit_tables
        from hpedit.scorer.tables.rubrics import parse_columns

        scale = parse_columns(columns) if columns else None
        found = fit_tables(require_edits(edits), ratings, scores, judge, out, scale)
    print_result(found, as_json, fit_text)


@scorer.command("eval")
def scorer_eval(
    ratings: Ratings,
    edits: Edits = None,
    scores: ScoresTable = None,
    cases: Cases = None,
    scorer: Annotated[Path | None, Option(help="Folder of a fitted scorer; optional with --curve.")] = None,
    allow_seen: Annotated[bool, Option("--allow-seen", help="Include photos used in fitting (leakage).")] = False,
    curve: Annotated[bool, Option("--curve", help="Also a learning curve over the number of rated edits.")] = False,
    judge: Annotated[list[str] | None, Option(help="Judge of the curve, repeatable; default: the scorer's.")] = None,
    columns: Annotated[str | None, Option(help="Custom columns' worst and best: realism:0:10,flaws:5:1.")] = None,
    numbers: Annotated[str, Option(help="With --curve: rated edits per task.")] = "10,25,50,100",
    draws: Annotated[int, Option(min=1, help="With --curve: random samples of edits per number.")] = 8,
    report: Annotated[Path | None, Option(help="Also write an HTML report to this .html file or folder.")] = None,
    cache: Cache = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Evaluate a scorer's agreement with human ratings.

    Measured on edits of held-out photos, and compared with the uncalibrated judge and with a single human rater.
    """
    from hpedit.cli.scorer_tables import agreement_lines, curve_lines, parse_numbers
    from hpedit.scorer.evaluation.measure_tables import Curve, measure_tables

    growing = Curve(parse_numbers(numbers), draws, partial(echo, err=True)) if curve else None
    check_cases_or_scores(scores, cases)
    if cases:
        refuse_options({"--columns": columns}, FOR_SCORES)
        from hpedit.cases.folder import CasesFolder
        from hpedit.scorer.fitting import measure_judged, read_pictures

        pictures = read_pictures(CasesFolder(cases), edits, ratings)
        found, grown = measure_judged(
            pictures, scorer, judge or (), growing, allow_seen=allow_seen, seed=seed, cache=cache
        )
    elif scores:
        refuse_options({"--cache": cache}, FOR_CASES)
        from hpedit.scorer.tables.rubrics import parse_columns

        scale = parse_columns(columns) if columns else None
        tables = (require_edits(edits), ratings, scores)
        found, grown = measure_tables(scorer, tables, judge or (), growing, scale, allow_seen=allow_seen, seed=seed)
    if report:
        from hpedit.report.scorer_page import write_scorer_page

        echo(f"page: {write_scorer_page(report, found, grown, command=typed_command())}", err=True)
    if as_json:
        print_json((found or {}) | ({"curve": grown} if grown else {}))
        return
    blocks = [agreement_lines(found)] if found else []
    blocks += [curve_lines(grown)] if grown else []
    echo("\n\n".join("\n".join(block) for block in blocks))


@scorer.command("probe")
def scorer_probe(
    scorer: Annotated[Path, Option(help="Folder of a fitted scorer with a judge.")],
    cases: Annotated[Path, Option(help="Table of cases, or a folder of `hpedit cases build`.")],
    edits: Annotated[Path | None, Option(help="Parquet of their edits; default: those of the build.")] = None,
    ratings: Annotated[Path | None, Option(help="CSV or JSONL of ratings: honest edits are rated 3 or more.")] = None,
    out: Annotated[Path | None, Option(help="Folder for probe.json and probe.png; default: the scorer's.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Maximum number of honest edits.")] = None,
    max_share: Annotated[float, Number(min=0, max=1, help="Fail if a larger share of degenerate edits passes.")] = 0.1,
    max_kind_share: Annotated[float, Number(min=0, max=1, help="The same for any single kind.")] = 0.2,
    max_flip: Annotated[
        float, Number(min=0, max=1, help="Warn if more answers flip with source and edit swapped.")
    ] = 0.2,
    cache: Cache = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Test a scorer against degenerate edits (reward hacking).

    Copies, noise, blur, grids, glaring colours, prompt injections and more must score lower than the honest edits that
    they are made from. Exit code 1 if the scorer fails; training then refuses it as a reward.
    """
    from hpedit.cases.folder import CasesFolder
    from hpedit.scorer.probes.probe_text import probe_lines
    from hpedit.scorer.probes.probes import Bounds
    from hpedit.scorer.probes.run_probe import probe_files

    bounds = Bounds(max_share, max_kind_share)
    found = probe_files(
        scorer,
        CasesFolder(cases),
        edits,
        ratings,
        out,
        limit=limit,
        seed=seed,
        bounds=bounds,
        max_flip=max_flip,
        cache=cache,
    )
    if as_json:
        print_json(found)
    else:
        echo("\n".join(probe_lines(found)))
    if not found["passed"]:
        raise Exit(1)


@scorer.command("serve")
def scorer_serve(
    judge: Annotated[str, Option(help="Judge: mini, a folder, or a Hugging Face model id.")] = "mini",
    revision: Annotated[str | None, Option(help="Revision of a judge on the hub.")] = None,
    dtype: Annotated[str, Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Annotated[
        str | None, Option(envvar="HPEDIT_SERVE_TOKEN", help="Access token; safer from the environment.")
    ] = None,
) -> None:
    """Serve a judge behind an OpenAI-compatible API until Ctrl-C.

    It answers with one token, or with JSON that follows a schema. Prints the value for --judge of other commands.
    """
    from hpedit.judges.judge_server import check_address, run_server

    check_address(host, token)
    from hpedit.judges.transformers_judge import TransformersJudge

    name = Path(judge).name or judge if Path(judge).is_dir() else judge
    loaded = TransformersJudge.load(judge, revision, dtype, device)
    run_server(loaded, name, host, port, token, lambda url: echo(f"{url}#{name}"))


@scorer.command("votes")
def scorer_votes(
    edits: Annotated[Path, Option(help="CSV of edits: edit_id, source_id, task.")],
    votes: Annotated[Path, Option(help="CSV of human votes: edit_a, edit_b, rater, vote.")],
    judge_votes: Annotated[Path, Option(help="CSV of judges' votes: edit_a, edit_b, judge, vote.")],
    out: Annotated[Path | None, Option(help="Folder for the fitted combination and its predictions.")] = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Combine judges that vote between two edits.

    They are compared with human votes; accuracy is cross-validated by source. Judges without signal are listed and get
    no weight.
    """
    from hpedit.scorer.votes.evaluate_votes import evaluate_votes
    from hpedit.scorer.votes.vote_text import render_votes

    report = evaluate_votes(edits, votes, judge_votes, out, seed)
    print_result(report, as_json, render_votes)
