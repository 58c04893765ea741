"""The command line: parse, call a stage, print. No logic, and nothing heavy is imported before a command runs.

Data goes to stdout, all else to stderr. What a user can mend ends with `error:` and `hint:` on stderr and exit code 2.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hpedit import __version__
from hpedit.errors import HPEditError

# Plain help: rich takes a third of the time in which --help should answer.
_PLAIN: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(help="Post-training of instruction-based image editors on human preference.", **_PLAIN)
mini = typer.Typer(help="The embedded world and its small models.", **_PLAIN)
ratings = typer.Typer(help="People's scores of edits.", **_PLAIN)
scorer = typer.Typer(help="HP-Scorer: a judge calibrated on people's scores.", **_PLAIN)
cases = typer.Typer(help="What an editor is trained and measured on.", **_PLAIN)
app.add_typer(mini, name="mini")
app.add_typer(ratings, name="ratings")
app.add_typer(scorer, name="scorer")
app.add_typer(cases, name="cases")


Edits = Annotated[Path, typer.Option("--edits", help="CSV of edits: edit_id, source_id, task.")]
Ratings = Annotated[Path, typer.Option("--ratings", help="CSV of ratings: edit_id, rater, score.")]
Scores = Annotated[
    Path, typer.Option("--scores", help="CSV of the judge's answers: edit_id, judge, one column a question.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all randomness.")]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def _estimate(value: dict[str, Any]) -> str:
    """A value with its 95 % interval; n/a for what is undefined."""
    numbers = (value["value"], *value["ci95"])
    if None in numbers:
        return "n/a" if value["value"] is None else f"{value['value']:.2f}"
    return "{:.2f} ({:.2f} to {:.2f})".format(*numbers)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hpedit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Parse the options that come before a command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command continues it.")] = Path("runs/demo"),
    photos: Annotated[Path | None, typer.Option(help="Build the world on your own photographs instead.")] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole loop on the embedded default.

    Ratings, scorer, cases, post-training, benchmark, report. The same command continues a run that was stopped.
    """
    from hpedit.demo import run_demo

    run_demo(out, photos, seed)


@mini.command("build")
def mini_build(
    out: Annotated[Path, typer.Option(help="Where to write the weights.")] = Path("runs/mini-build"),
    stage: Annotated[Literal["vae", "editor", "judge", "all"], typer.Option(help="What to build.")] = "all",
    seed: Seed = 0,
) -> None:
    """Rebuild the shipped mini weights from scratch (hours)."""
    from hpedit.mini.build import build

    build(out, stage, seed)


@ratings.command("import")
def ratings_import(
    src: Annotated[Path, typer.Argument(help="The folder as published.")],
    out: Annotated[Path, typer.Option(help="Folder for edits.csv, ratings.csv and scores.csv.")],
    format: Annotated[Literal["imagenhub"], typer.Option("--format", help="Whose layout it has.")] = "imagenhub",
) -> None:
    """Bring published ratings into the form of this project."""
    from hpedit.scorer.ratings_import import import_ratings

    _print_json(import_ratings(format, src, out))


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

    _print_json(fit(edits, ratings, scores, judge, out))


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
        _print_json(result)
        return
    typer.echo(f"{'':20}{'scorer':>22}{'judge alone':>22}{'one human':>22}")
    for measure in ("pearson", "spearman", "pairwise_accuracy"):
        columns = (result[measure], result["raw"][measure], result["human"][measure])
        typer.echo(f"{measure:20}" + "".join(f"{_estimate(column):>22}" for column in columns))
    typer.echo(f"{result['n']} edits of {result['sources']} photos; {result['unscorable']} unscorable")
    typer.echo(f"verdict: {result['verdict']}" + (f" ({result['reason']})" if result["reason"] else ""))


@cases.command("build")
def cases_build(
    source: Annotated[
        Literal["mini", "photos", "instructions"],
        typer.Option(help="The mini world, a folder of photographs, or given instructions."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the cases.")],
    src: Annotated[
        Path | None, typer.Option(help="Folder of photographs, or of instructions and their photographs.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Cases to build before the hard filter.")] = 96,
    scorer: Annotated[
        Path | None, typer.Option(help="Fitted scorer for the hard filter; none keeps every case.")
    ] = None,
    model: Annotated[str, typer.Option(help="The base editor: mini, a folder, or a Hugging Face id.")] = "mini",
    seed: Seed = 0,
) -> None:
    """Build cases and keep the hard ones.

    The base editor edits each, the scorer scores the edit, and what scores a rounded 5 is dropped.
    """
    from hpedit.cases.build import build_cases

    _print_json(build_cases(source, out, src=src, count=count, scorer=scorer, model=model, seed=seed))


@app.command()
def edit(
    image: Annotated[Path, typer.Option(help="The picture to edit.")],
    instruction: Annotated[str, typer.Option(help="What to do with it.")],
    model: Annotated[str, typer.Option(help="mini, a folder, or a Hugging Face id.")] = "mini",
    lora: Annotated[Path | None, typer.Option(help="Folder of a trained LoRA.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the edit, as PNG.")] = Path("edit.png"),
    steps: Annotated[int, typer.Option(min=2, help="Sampling steps.")] = 8,
    seed: Seed = 0,
) -> None:
    """Edit one picture."""
    from hpedit.commands import edit_file

    edit_file(image, instruction, out, model=model, lora=lora, steps=steps, seed=seed)
    typer.echo(str(out))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, see the folder recipes/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key; can be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and print it resolved.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Refuse to start anew if there is nothing to continue.")
    ] = False,
) -> None:
    """Post-train an editor by Flow-GRPO.

    The same command continues a run that was stopped.
    """
    from hpedit.config import dump_recipe, load_recipe

    resolved = load_recipe(recipe, settings or [])
    if dry_run:
        typer.echo(dump_recipe(resolved), nl=False)
        return
    if resume and not (Path(resolved.output) / "recipe.json").exists():
        raise HPEditError(f"{resolved.output} holds no run to continue", hint="leave out --resume to start one")
    from hpedit.rl.trainer import train as run_training

    run_training(resolved)
    typer.echo(resolved.output)


@app.command()
def bench(
    cases: Annotated[Path, typer.Option(help="Held-out cases: parquet, or a folder of `hpedit cases build`.")],
    lora: Annotated[Path, typer.Option(help="The post-trained LoRA; the base is the editor without it.")],
    scorer: Annotated[Path | None, typer.Option(help="Fitted scorer; none leaves its column out.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the benchmark; the same command continues it.")] = Path(
        "runs/bench"
    ),
    model: Annotated[str, typer.Option(help="mini, a folder, or a Hugging Face id.")] = "mini",
    steps: Annotated[int, typer.Option(min=2, help="Sampling steps.")] = 8,
    seed: Seed = 0,
) -> None:
    """Measure base against post-trained.

    On the same cases and seeds; prints the summary as JSON and writes a report.
    """
    from hpedit.commands import bench_base_and_lora

    summary = bench_base_and_lora(
        cases, out, lora=lora, scorer=scorer, model=model, steps=steps, seed=seed, command=sys.argv
    )
    _print_json(summary)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a benchmark.")]) -> None:
    """Write the report of a benchmark again."""
    from hpedit.commands import write_bench_report

    typer.echo(str(write_bench_report(folder)))


def main() -> None:
    """Entry point: a mendable error is two lines and exit code 2, a closed pipe is no error at all."""
    try:
        app()
    except HPEditError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
