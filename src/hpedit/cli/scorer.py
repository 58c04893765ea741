"""hpedit scorer: a judge calibrated on people's scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hpedit.cli.common import PLAIN, Seed, print_json, typed_command
from hpedit.errors import HPEditError

scorer = typer.Typer(name="scorer", help="HP-Scorer: a judge calibrated on people's scores.", **PLAIN)

Edits = Annotated[
    Path | None,
    typer.Option(
        "--edits",
        help="CSV of edits: edit_id, source_id, task; with --cases the parquet of edits, by default the build's own.",
    ),
]
Ratings = Annotated[Path, typer.Option("--ratings", help="CSV of ratings: edit_id, rater, score.")]
Scores = Annotated[
    Path | None, typer.Option("--scores", help="CSV of the judges' answers: edit_id, judge, one column a question.")
]
Cases = Annotated[
    Path | None, typer.Option("--cases", help="Table of cases, or a folder of `hpedit cases build`: asks the judges.")
]
Cache = Annotated[Path | None, typer.Option("--cache", help="File of answers already given, made if it is not there.")]


FOR_SCORES, FOR_CASES = "it says how to read --scores", "it is for judges that are asked, with --cases"


def asks(scores: Path | None, cases: Path | None) -> bool:
    """Whether judges are to be asked; HPEditError unless exactly one of the two is given."""
    if (scores is None) == (cases is None):
        raise HPEditError(
            "give either --cases or --scores",
            hint="--cases asks the judges about the edits; --scores is a table of what they answered",
        )
    return cases is not None


def table_of(edits: Path | None) -> Path:
    """The table of edits, without which --scores says nothing; HPEditError where none is named."""
    if edits is None:
        raise HPEditError("--edits is missing", hint="with --scores it is a CSV of edit_id, source_id, task")
    return edits


def refuse(options: Mapping[str, object], reason: str) -> None:
    """HPEditError if one of the options, by name, was given: it would be without effect."""
    for name, value in options.items():
        if value:
            raise HPEditError(f"{name} has no effect here: {reason}", hint="leave it out")


@scorer.command("fit")
def scorer_fit(
    ratings: Ratings,
    judge: Annotated[
        list[str], typer.Option(help="Whom to calibrate, see docs/judges.md; give it again to combine several judges.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the fitted scorer.")],
    edits: Edits = None,
    scores: Scores = None,
    cases: Cases = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Worst and best answer of columns of your own in --scores: realism:0:10,flaws:5:1."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of judges that are hub models.")] = None,
    cache: Cache = None,
) -> None:
    """Calibrate judges on people's ratings.

    With --cases the judges are asked about the edits, and the reasoning questions that help are chosen: the scorer that
    training and benchmark use. With --scores their answers come from a table.
    """
    if asks(scores, cases) and cases:
        refuse({"--columns": columns}, FOR_SCORES)
        from hpedit.cases.folder import CasesFolder
        from hpedit.scorer.fitting import fit_judged, load_judges, read_pictures

        pictures = read_pictures(CasesFolder(cases), edits, ratings)
        print_json(fit_judged(pictures, load_judges(judge, revision, cache), out, revision=revision)[1])
    elif scores:
        refuse({"--revision": revision, "--cache": cache}, FOR_CASES)
        from hpedit.scorer.tables.fit_tables import fit_tables
        from hpedit.scorer.tables.rubrics import parse_columns

        print_json(
            fit_tables(table_of(edits), ratings, scores, judge, out, parse_columns(columns) if columns else None)
        )


@scorer.command("eval")
def scorer_eval(
    ratings: Ratings,
    edits: Edits = None,
    scores: Scores = None,
    cases: Cases = None,
    scorer: Annotated[Path | None, typer.Option(help="Folder of a fitted scorer; needed but for --curve.")] = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Keep photos that the scorer was fitted on; the figures then flatter.")
    ] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also fit on growing numbers of rated edits and measure each on the rest.")
    ] = False,
    judge: Annotated[
        list[str] | None, typer.Option(help="Judge of the curve, repeated for several; the scorer's own if not given.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Worst and best answer of --judge's own columns: realism:0:10,flaws:5:1.")
    ] = None,
    numbers: Annotated[str, typer.Option(help="Rated edits a task, for --curve.")] = "10,25,50,100",
    draws: Annotated[int, typer.Option(min=1, help="Random choices of edits a number, for --curve.")] = 8,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page: a file that ends in .html, or a folder.")
    ] = None,
    cache: Cache = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure a scorer against people.

    On edits of photos it was not fitted on, beside the uncalibrated judge and the human ceiling.
    """
    from hpedit.cli.scorer_tables import agreement_lines, curve_lines, parse_numbers
    from hpedit.scorer.evaluation.measure_tables import Curve, measure_tables

    growing = Curve(parse_numbers(numbers), draws, partial(typer.echo, err=True)) if curve else None
    if asks(scores, cases) and cases:
        refuse({"--columns": columns}, FOR_SCORES)
        from hpedit.cases.folder import CasesFolder
        from hpedit.scorer.fitting import measure_judged, read_pictures

        pictures = read_pictures(CasesFolder(cases), edits, ratings)
        found, grown = measure_judged(
            pictures, scorer, judge or (), growing, allow_seen=allow_seen, seed=seed, cache=cache
        )
    elif scores:
        refuse({"--cache": cache}, FOR_CASES)
        from hpedit.scorer.tables.rubrics import parse_columns

        scale = parse_columns(columns) if columns else None
        tables = (table_of(edits), ratings, scores)
        found, grown = measure_tables(scorer, tables, judge or (), growing, scale, allow_seen=allow_seen, seed=seed)
    if report:
        from hpedit.report.scorer_page import write_scorer_page

        typer.echo(f"page: {write_scorer_page(report, found, grown, command=typed_command())}", err=True)
    if as_json:
        print_json((found or {}) | ({"curve": grown} if grown else {}))
        return
    blocks = [agreement_lines(found)] if found else []
    blocks += [curve_lines(grown)] if grown else []
    typer.echo("\n\n".join("\n".join(block) for block in blocks))


@scorer.command("probe")
def scorer_probe(
    scorer: Annotated[Path, typer.Option(help="Folder of a fitted scorer with a judge.")],
    cases: Annotated[Path, typer.Option(help="Table of cases, or a folder of `hpedit cases build`.")],
    edits: Annotated[
        Path | None, typer.Option(help="Parquet of their edits; by default those that the build made.")
    ] = None,
    ratings: Annotated[
        Path | None, typer.Option(help="CSV or JSONL of ratings: edits of 3 and more are honest. Without: all are.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where probe.json and probe.png go. Default: the scorer's folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Honest edits at most.")] = None,
    max_share: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse above this share of all that does not score below.")
    ] = 0.1,
    max_kind_share: Annotated[float, typer.Option(min=0, max=1, help="The same of any one kind.")] = 0.2,
    max_flip: Annotated[
        float, typer.Option(min=0, max=1, help="Warn above this flip rate when source and edit are swapped.")
    ] = 0.2,
    cache: Cache = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Try whether degenerate edits please a scorer.

    Copies, noise, blur, grids, glaring colours, injections and more have to score below the honest edits they are made
    from. Training refuses a scorer that failed; exit code 1 says so here.
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
        typer.echo("\n".join(probe_lines(found)))
    if not found["passed"]:
        raise typer.Exit(1)


@scorer.command("serve")
def scorer_serve(
    judge: Annotated[str, typer.Option(help="mini, a folder, or the Hugging Face id of a model in process.")] = "mini",
    revision: Annotated[str | None, typer.Option(help="Revision of a hub model.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    host: Annotated[str, typer.Option(help="Address; any but this machine's own needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="HPEDIT_SERVE_TOKEN", help="What clients must know; better by the environment variable."),
    ] = None,
) -> None:
    """Serve a judge until Ctrl-C, as an OpenAI-compatible server of one answer token, or of JSON of a schema.

    Prints what to give as --judge elsewhere.
    """
    from hpedit.judges.judge_server import check_address, run_server

    check_address(host, token)
    from hpedit.judges.transformers_judge import TransformersJudge

    name = Path(judge).name or judge if Path(judge).is_dir() else judge
    loaded = TransformersJudge.load(judge, revision, dtype, device)
    run_server(loaded, name, host, port, token, lambda url: typer.echo(f"{url}#{name}"))


@scorer.command("votes")
def scorer_votes(
    edits: Annotated[Path, typer.Option(help="CSV of edits: edit_id, source_id, task.")],
    votes: Annotated[Path, typer.Option(help="CSV of people's votes: edit_a, edit_b, rater, vote.")],
    judge_votes: Annotated[Path, typer.Option(help="CSV of judges' votes: edit_a, edit_b, judge, vote.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the combination and its predictions.")] = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Combine judges that vote between two edits, and measure them against people.

    Accuracy on sources that a prediction was not fitted on; judges without signal are named and get no weight.
    """
    from hpedit.scorer.votes.evaluate_votes import evaluate_votes
    from hpedit.scorer.votes.vote_text import render_votes

    report = evaluate_votes(edits, votes, judge_votes, out, seed)
    if as_json:
        print_json(report)
    else:
        typer.echo(render_votes(report))
