"""hpedit bench: how good a model's edits are, on the same cases and seeds as another's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, Cfg, Seed, print_json, typed_command
from hpedit.errors import HPEditError

if TYPE_CHECKING:
    from hpedit.bench.folder import BenchFolder

bench = typer.Typer(name="bench", help="How good a model's edits are, beside another's.", **PLAIN)

Scorer = Annotated[Path | None, typer.Option(help="Folder of a fitted scorer; none leaves its column out.")]
SecondJudge = Annotated[
    str | None, typer.Option(help="A judge that took no part in training, or the folder of another scorer.")
]
SameJudge = Annotated[bool, typer.Option("--same-judge", help="Take a second judge that is the scorer's own.")]
Label = Annotated[str | None, typer.Option(help="Name of the model in tables; none takes the name of OUT.")]
TrainedOn = Annotated[
    list[Path] | None,
    typer.Option(help="Recipe, run or cases that the model was trained on: refuses what is in both; can be repeated."),
]
HeldOut = Annotated[Path, typer.Option(help="Held-out cases: parquet, or a folder that holds some.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@bench.command("run")
def bench_run(
    editor: Annotated[str, typer.Option(help="mini, a folder, or a Hugging Face id.")],
    cases: HeldOut,
    out: Annotated[Path, typer.Option(help="Folder of this model's results; the same command continues it.")],
    lora: Annotated[Path | None, typer.Option(help="Folder of a trained LoRA; none measures the base.")] = None,
    scorer: Scorer = None,
    second_judge: SecondJudge = None,
    same_judge: SameJudge = False,
    label: Label = None,
    steps: Annotated[int, typer.Option(min=2, help="Sampling steps.")] = 8,
    seed: Seed = 0,
    batch: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 16,
    revision: Annotated[str | None, typer.Option(help="Of an editor from the hub.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the editor's weights.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    cfg: Cfg = 1.0,
    trained_on: TrainedOn = None,
    as_json: AsJson = False,
) -> None:
    """Edit and score all cases with one model.

    The same command continues a run that was stopped; a scorer or second judge that is added later scores what is
    there. Models run with one seed edit each case from the same noise.
    """
    from hpedit.bench.commands import EditorChoice, Judging, bench_editor

    choice = EditorChoice(editor, revision, lora, dtype, device, cfg)
    judging = Judging(scorer, second_judge, same_judge)
    folder = bench_editor(
        choice, cases, out, judging, label=label, steps=steps, seed=seed, batch=batch,
        trained_on=trained_on or [], command=typed_command(),
    )  # fmt: skip
    _print_model(folder, as_json)


@bench.command("score")
def bench_score(
    edits: Annotated[Path, typer.Option(help="Folder of images named by case id.")],
    cases: HeldOut,
    out: Annotated[Path, typer.Option(help="Folder of this model's results; the same command continues it.")],
    scorer: Scorer = None,
    second_judge: SecondJudge = None,
    same_judge: SameJudge = False,
    label: Label = None,
    edit_ids: Annotated[
        str, typer.Option(help="What ratings call the edits; {label} and {case} are filled in.")
    ] = "{label}:{case}",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on though images are missing or damaged.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Edits at a time.")] = 16,
    trained_on: TrainedOn = None,
    as_json: AsJson = False,
) -> None:
    """Score edits that were made elsewhere.

    What is missing, damaged, of no case or of another size than its source is named.
    """
    from hpedit.bench.commands import Judging, bench_given

    folder = bench_given(
        edits, cases, out, Judging(scorer, second_judge, same_judge), label=label, edit_ids=edit_ids,
        allow_missing=allow_missing, batch=batch, trained_on=trained_on or [], command=typed_command(),
    )  # fmt: skip
    _print_model(folder, as_json)


@bench.command("compare")
def bench_compare(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of `bench run` and `bench score`, the reference first.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for compare.md, .csv, .tex, .json and report.html.")],
    ratings: Annotated[Path | None, typer.Option(help="People's scores of the edits (.csv, .jsonl).")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="For the pictures of the page, where the cases were moved.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Hold models against the first one, case by case.

    Prints the tables and writes them with a page to OUT.
    """
    from hpedit.bench.terminal import render
    from hpedit.report.bench_compare import compare_folders

    result = compare_folders(folders, out, ratings=ratings, cases=cases, seed=seed, command=typed_command())
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{render(result)}\n\nreport: {out / 'report.html'}")


@bench.command("report")
def bench_report(folder: Annotated[Path, typer.Argument(help="Folder of `bench compare`.")]) -> None:
    """Write the tables and the page of a comparison again."""
    from hpedit.report.bench_compare import report_again

    typer.echo(str(report_again(folder)))


def _print_model(folder: BenchFolder, as_json: bool) -> None:
    from hpedit.bench.comparison import describe_model
    from hpedit.bench.terminal import render

    result = describe_model(folder)
    if as_json:
        print_json(result)
    else:
        typer.echo(render(result))


@bench.command("build")
def bench_build(
    source: Annotated[
        Path, typer.Argument(help="Cases: parquet, a folder of `hpedit cases build`, or its recipe (.yaml).")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new benchmark; the same command goes on with it.")],
    per_task: Annotated[int, typer.Option(min=1, help="Cases of each task.")] = 200,
    spare: Annotated[float, typer.Option(min=0.0, max=5.0, help="Share proposed beyond, for those dropped.")] = 0.2,
    checked: Annotated[Path | None, typer.Option(help="Store of `hpedit bench check`: take its verdicts in.")] = None,
    seed: Seed = 0,
) -> None:
    """Choose a benchmark of your own, balanced over tasks and categories.

    First without --checked; then let people check it (`hpedit bench check`) and run it again with --checked. Prints
    counts as JSON.
    """
    from hpedit.bench.build import Wanted, build_bench

    print_json(build_bench(source, out, Wanted(per_task, spare, seed), checked))


@bench.command("check")
def bench_check(
    folder: Annotated[Path, typer.Argument(help="Folder of `hpedit bench build`, or a table of cases.")],
    db: Annotated[Path, typer.Option(help="SQLite file of the checks; the same command continues it.")],
    overlap: Annotated[int, typer.Option(min=1, help="People who check a case.")] = 1,
    lease: Annotated[float, typer.Option(min=1, help="Seconds for which a case is kept for a checker.")] = 600.0,
    host: Annotated[str, typer.Option(help="Address; any but this machine's own needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8601,
    token: Annotated[
        str | None,
        typer.Option(envvar="HPEDIT_RATE_TOKEN", help="What checkers must know; better by the environment variable."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name of the server, of a reverse proxy say; can be repeated.")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Of the order; drawn and kept where none is given.")] = None,
) -> None:
    """Serve the page on which people keep, mend or drop each case, until Ctrl-C.

    Prints its address; each answer is on the disk before it is confirmed.
    """
    from functools import partial

    from hpedit.bench.build import PROPOSED
    from hpedit.rate.launch import ListenAddress, prepare_case_check, serve_ratings
    from hpedit.rate.sessions import RatingSettings

    settings = RatingSettings("check", overlap, lease, retests=0, seed=seed)
    cases = folder / PROPOSED if folder.is_dir() else folder
    make = partial(prepare_case_check, cases=cases, settings=settings)
    serve_ratings(db, ListenAddress(host, port, token or None, tuple(allow_host or ())), make, say=typer.echo)


@bench.command("ablate")
def bench_ablate(
    out: Annotated[Path, typer.Option(help="Folder of the ablation; the same command continues it.")] = Path(
        "runs/ablate"
    ),
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between; more may be added later.")] = "0,1,2",
    photos: Annotated[Path | None, typer.Option(help="Build the world on your own photographs instead.")] = None,
    objects: Annotated[
        Path | None, typer.Option(help="Folder of cut-outs (PNG with alpha) to stand in it instead of drawn shapes.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes, of one thread each.")] = 2,
) -> None:
    """Measure what hard cases and calibration are each worth.

    Post-trains the mini editor on raw and on hard cases, by the plain and by the calibrated scorer; prints the table.
    """
    from hpedit.experiments.ablate import parse_seeds, run_ablation
    from hpedit.mini.world import World

    run_ablation(out, seeds=parse_seeds(seeds), world=World(photos, objects), jobs=jobs)
    typer.echo((out / "ablate.md").read_text(encoding="utf-8"), nl=False)


@bench.command("seeds")
def bench_seeds(
    folders: Annotated[
        list[Path], typer.Argument(help="One a seed: base/, post/ and control/ of a benchmark, or a training run.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a recipe gains over several seeds, against base and control.

    Intervals are over seeds and source photographs.
    """
    from hpedit.experiments.seed_runs import aggregate, render

    result = aggregate(folders)
    if as_json:
        print_json(result)
    else:
        typer.echo(render(result))


@bench.command("published")
def bench_published(
    name: Annotated[Literal["gedit", "imgedit"], typer.Argument(help="Which published benchmark.")],
    scores: Annotated[
        list[Path] | None, typer.Option(help="Files of its judge, or folders of them; can be repeated.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The benchmark: GEdit's parquet, ImgEdit's basic_edit.json; or its folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --data: folder for cases.parquet.")] = None,
    edits: Annotated[
        Path | None, typer.Option(help="With --out: a model's results, copied under the case ids.")
    ] = None,
    language: Annotated[str, typer.Option(help="GEdit: en or cn.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print scores as JSON instead of tables.")] = False,
) -> None:
    """Read GEdit-Bench or ImgEdit-Bench.

    --scores prints the tables of its own rule; --data with --out brings its cases here, for `bench run` and `score`.
    """
    from hpedit.bench.published import BENCHMARKS
    from hpedit.bench.published.common import render, write_benchmark

    if (out is not None or edits is not None) and (data is None or out is None):
        raise HPEditError("--out and --edits bring a benchmark's cases here", hint="give --data and --out with them")
    if scores:
        tables = BENCHMARKS[name].scores(scores, data, language)
        if as_json:
            print_json([table.as_dict() for table in tables])
        else:
            typer.echo(render(tables))
    if data is not None and out is not None:
        print_json(write_benchmark(BENCHMARKS[name], data, out, language, edits))
    elif not scores:
        raise HPEditError("there is nothing to do", hint="give --scores FILES, or --data with --out")
