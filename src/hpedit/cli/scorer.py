"""hpedit scorer: a judge calibrated on people's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hpedit.cli.common import PLAIN, Seed, estimate, print_json

scorer = typer.Typer(name="scorer", help="HP-Scorer: a judge calibrated on people's scores.", **PLAIN)

Edits = Annotated[Path, typer.Option("--edits", help="CSV of edits: edit_id, source_id, task.")]
Ratings = Annotated[Path, typer.Option("--ratings", help="CSV of ratings: edit_id, rater, score.")]
Scores = Annotated[
    Path, typer.Option("--scores", help="CSV of the judge's answers: edit_id, judge, one column a question.")
]


@scorer.command("fit")
def scorer_fit(
    edits: Edits,
    ratings: Ratings,
    scores: Scores,
    judge: Annotated[str, typer.Option(help="Which judge's answers to calibrate.")],
    out: Annotated[Path, typer.Option(help="Folder of the fitted scorer.")],
) -> None:
    """Calibrate a judge's answers on people's ratings."""
    from hpedit.scorer.tabular import fit

    print_json(fit(edits, ratings, scores, judge, out))


@scorer.command("calibrate")
def scorer_calibrate(
    cases: Annotated[Path, typer.Option(help="Parquet of cases.")],
    edits: Annotated[Path, typer.Option(help="Parquet of their edits.")],
    ratings: Annotated[Path, typer.Option(help="CSV or JSONL of ratings: edit_id, rater, score.")],
    out: Annotated[Path, typer.Option(help="Folder of the fitted scorer.")],
    judge: Annotated[str, typer.Option(help="mini, a folder, or the Hugging Face id of a Qwen2.5-VL.")] = "mini",
    revision: Annotated[str | None, typer.Option(help="Revision of a hub model.")] = None,
) -> None:
    """Ask a judge about rated edits and calibrate it: the scorer that training and benchmark use."""
    from hpedit.scorer.hp_scorer import calibrate_files

    typer.echo(json.dumps(calibrate_files(cases, edits, ratings, out, judge=judge, revision=revision), indent=2))


@scorer.command("eval")
def scorer_eval(
    scorer: Annotated[Path, typer.Option(help="Folder of a fitted scorer.")],
    edits: Edits,
    ratings: Ratings,
    scores: Scores,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a scorer against people.

    On ratings it never saw, beside the uncalibrated judge and the human ceiling.
    """
    from hpedit.scorer.tabular import evaluate

    result = evaluate(scorer, edits, ratings, scores)
    if as_json:
        print_json(result)
        return
    typer.echo(f"{'':20}{'scorer':>22}{'judge alone':>22}{'one human':>22}")
    for measure in ("pearson", "spearman", "pairwise_accuracy"):
        columns = (result[measure], result["raw"][measure], result["human"][measure])
        typer.echo(f"{measure:20}" + "".join(f"{estimate(column):>22}" for column in columns))
    typer.echo(f"{result['n']} edits of {result['sources']} photos; {result['unscorable']} unscorable")
    typer.echo(f"verdict: {result['verdict']}" + (f" ({result['reason']})" if result["reason"] else ""))


@scorer.command("probe")
def scorer_probe(
    scorer: Annotated[Path, typer.Option(help="Folder of a fitted scorer with a judge.")],
    cases: Annotated[Path, typer.Option(help="Parquet of cases, or a folder of `hpedit cases build`.")],
    edits: Annotated[Path, typer.Option(help="Parquet of their edits.")],
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
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Try whether degenerate edits please a scorer.

    Copies, noise, blur, grids, glaring colours, injections and more have to score below the honest edits they are made
    from. Training refuses a scorer that failed; exit code 1 says so here.
    """
    from hpedit.scorer.probe_files import probe_files
    from hpedit.scorer.probe_table import lines
    from hpedit.scorer.probes import Bounds

    bounds = Bounds(max_share, max_kind_share)
    found = probe_files(scorer, cases, edits, ratings, out, limit=limit, seed=seed, bounds=bounds, max_flip=max_flip)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(lines(found)))
    if not found["passed"]:
        raise typer.Exit(1)
