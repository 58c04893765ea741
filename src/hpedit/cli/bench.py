"""hpedit bench: benchmark editors on the same held-out cases and seeds, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import (
    MOST_LEASE,
    PLAIN,
    AllowHost,
    AsJson,
    Cfg,
    Host,
    Number,
    Objects,
    Photos,
    Port,
    RateToken,
    SeedOption,
    Steps,
    print_json,
    print_result,
    typed_command,
)
from hpedit.cli.editor_options import EditorOptions, takes_editor
from hpedit.cli.figures import figures_text
from hpedit.errors import HPEditError

if TYPE_CHECKING:
    from hpedit.bench.bench_folder import BenchFolder

bench = Typer(name="bench", help="Benchmark editors and compare them.", **PLAIN)

ScorerFolder = Annotated[Path | None, Option(help="Folder of a fitted scorer; default: no scores.")]
SecondJudge = Annotated[str | None, Option(help="A judge not used in training, or the folder of another scorer.")]
SameJudge = Annotated[bool, Option("--same-judge", help="Allow a second judge that the scorer itself uses.")]
ModelLabel = Annotated[str | None, Option(help="Name of the model in tables; default: the name of OUT.")]
TrainedOn = Annotated[
    list[Path] | None, Option(help="The model's training recipe, run or cases, to check leakage; repeatable.")
]
HeldOutCases = Annotated[Path, Option(help="Held-out cases: a parquet file, or a folder with one.")]
ResultFolder = Annotated[Path, Option("--out", help="Folder of this model's results; existing ones are resumed.")]


@bench.command("run")
@takes_editor
def bench_run(
    editor: EditorOptions,
    cases: HeldOutCases,
    out: ResultFolder,
    lora: Annotated[Path | None, Option(help="Folder of a trained LoRA; default: the base editor.")] = None,
    scorer: ScorerFolder = None,
    second_judge: SecondJudge = None,
    same_judge: SameJudge = False,
    label: ModelLabel = None,
    steps: Steps = None,
    seed: SeedOption = 0,
    batch: Annotated[int, Option(min=1, help="Batch size, in cases.")] = 16,
    cfg: Cfg = None,
    trained_on: TrainedOn = None,
    as_json: AsJson = False,
) -> None:
    """Edit and score all cases with one model.

    Run the same command again to resume; a scorer or second judge that is added later scores the existing edits. Models
    that run with the same seed edit each case from the same noise.
    """
    if "model" not in editor:
        raise HPEditError("--editor is missing", hint="mini, a folder, or a Hugging Face model id")
    from hpedit.bench.commands import BenchJudges, bench_editor
    from hpedit.config.editor import EditorSection
    from hpedit.config.reading import read_options

    section = read_options(EditorSection, editor)
    judging = BenchJudges(scorer, second_judge, same_judge)
    folder = bench_editor(
        section, cases, out, judging, lora=lora, label=label, steps=steps, cfg=cfg, seed=seed, batch=batch,
        trained_on=trained_on or [], command=typed_command(),
    )  # fmt: skip
    _print_model(folder, as_json)


@bench.command("score")
def bench_score(
    edits: Annotated[Path, Option(help="Folder of edited images, named by case id.")],
    cases: HeldOutCases,
    out: ResultFolder,
    scorer: ScorerFolder = None,
    second_judge: SecondJudge = None,
    same_judge: SameJudge = False,
    label: ModelLabel = None,
    edit_ids: Annotated[
        str, Option(help="Pattern of edit ids in ratings, from {label} and {case}.")
    ] = "{label}:{case}",
    allow_missing: Annotated[bool, Option("--allow-missing", help="Accept missing or damaged images.")] = False,
    batch: Annotated[int, Option(min=1, help="Batch size, in edits.")] = 16,
    trained_on: TrainedOn = None,
    as_json: AsJson = False,
) -> None:
    """Score edits that were made by another tool.

    Reports images that are missing, damaged, belong to no case, or differ in size from their source.
    """
    from hpedit.bench.commands import BenchJudges, bench_external

    folder = bench_external(
        edits, cases, out, BenchJudges(scorer, second_judge, same_judge), label=label, edit_ids=edit_ids,
        allow_missing=allow_missing, batch=batch, trained_on=trained_on or [], command=typed_command(),
    )  # fmt: skip
    _print_model(folder, as_json)


@bench.command("compare")
def bench_compare(
    folders: Annotated[list[Path], Argument(help="Results of `bench run` and `bench score`, the reference first.")],
    out: Annotated[Path, Option(help="Folder for compare.md, .csv, .tex, .json and report.html.")],
    ratings: Annotated[Path | None, Option(help="Human scores of the edits (.csv, .jsonl).")] = None,
    cases: Annotated[Path | None, Option(help="Cases for the images of the report, if they were moved.")] = None,
    seed: Annotated[int, Option(hidden=True)] = 0,  # noqa: ARG001 - of 0.2, when intervals were resampled
    as_json: AsJson = False,
) -> None:
    """Compare models with the first one, paired by case.

    Prints the tables, and writes them and an HTML report to OUT.
    """
    from hpedit.bench.comparison_text import comparison_text
    from hpedit.report.bench_compare import compare_folders

    result = compare_folders(folders, out, ratings=ratings, cases=cases, command=typed_command())
    if as_json:
        print_json(result)
    else:
        echo(f"{comparison_text(result)}\n\nreport: {out / 'report.html'}")


@bench.command("report")
def bench_report(folder: Annotated[Path, Argument(help="Folder of `bench compare`.")]) -> None:
    """Write the tables and the HTML report of a comparison again."""
    from hpedit.report.bench_compare import report_again

    echo(str(report_again(folder)))


def _print_model(folder: BenchFolder, as_json: bool) -> None:
    from hpedit.bench.comparison import describe_model
    from hpedit.bench.comparison_text import comparison_text

    result = describe_model(folder)
    print_result(result, as_json, comparison_text)


@bench.command("build")
def bench_build(
    source: Annotated[Path, Argument(help="Cases: parquet, a folder of `hpedit cases build`, or its recipe (.yaml).")],
    out: Annotated[Path, Option(help="Folder of the new benchmark; an existing one is resumed.")],
    per_task: Annotated[int, Option(min=1, help="Number of cases per task.")] = 200,
    spare: Annotated[float, Number(min=0.0, max=5.0, help="Share of extra cases, as some get dropped.")] = 0.2,
    checked: Annotated[Path | None, Option(help="SQLite file of `hpedit bench check` to apply.")] = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Build your own benchmark, balanced over tasks and categories.

    Run it first without --checked, have people check the cases (`hpedit bench check`), then run it with --checked.
    Prints counts.
    """
    from hpedit.bench.benchmark_build import BenchmarkSize, build_bench

    print_result(build_bench(source, out, BenchmarkSize(per_task, spare, seed), checked), as_json, figures_text)


@bench.command("check")
def bench_check(
    folder: Annotated[Path, Argument(help="Folder of `hpedit bench build`, or a table of cases.")],
    db: Annotated[Path, Option(help="SQLite file of the checks; an existing one is continued.")],
    overlap: Annotated[int, Option(min=1, help="Checkers per case.")] = 1,
    lease: Annotated[
        float,
        Number(min=1, max=MOST_LEASE, help="Seconds for which a case is reserved for a checker."),
    ] = 600.0,
    host: Host = "127.0.0.1",
    port: Port = 8601,
    token: RateToken = None,
    allow_host: AllowHost = None,
    seed: Annotated[str | None, Option(help="Seed of the order; default: drawn once and stored.")] = None,
) -> None:
    """Serve a page where people check the cases, until Ctrl-C.

    Each case is kept, fixed or dropped. Prints the page's address. Every answer is on disk before it is confirmed.
    """
    from functools import partial

    from hpedit.bench.benchmark_build import PROPOSED
    from hpedit.rate.launch import ListenAddress, prepare_case_check, serve_ratings
    from hpedit.rate.sessions import RatingSettings

    settings = RatingSettings("check", overlap, lease, retests=0, seed=seed)
    cases = folder / PROPOSED if folder.is_dir() else folder
    make = partial(prepare_case_check, cases=cases, settings=settings)
    serve_ratings(db, ListenAddress(host, port, token or None, tuple(allow_host or ())), make, say=echo)


@bench.command("ablate")
def bench_ablate(
    out: Annotated[Path, Option(help="Output folder; an existing one is resumed.")] = Path("runs/ablate"),
    seeds: Annotated[str, Option(help="Comma-separated seeds; more can be added later.")] = "0,1,2",
    photos: Photos = None,
    objects: Objects = None,
    jobs: Annotated[int, Option(min=1, max=256, help="Parallel processes, one thread each.")] = 2,
) -> None:
    """Measure the effect of hard cases and of calibration.

    Post-trains the mini editor on unfiltered and on hard cases, with the uncalibrated and the calibrated scorer. Prints
    a table.
    """
    from hpedit.experiments.ablate import parse_seeds, run_ablation
    from hpedit.mini.world import World

    run_ablation(out, seeds=parse_seeds(seeds), world=World(photos, objects), jobs=jobs)
    echo((out / "ablate.md").read_text(encoding="utf-8"), nl=False)


@bench.command("seeds")
def bench_seeds(
    folders: Annotated[list[Path], Argument(help="One folder per seed: base/, post/, control/, or a training run.")],
    as_json: AsJson = False,
) -> None:
    """Report a recipe's gain over base and control across seeds.

    Confidence intervals are over seeds and source photographs.
    """
    from hpedit.experiments.seed_runs import aggregate_seeds, seed_gains_text

    print_result(aggregate_seeds(folders), as_json, seed_gains_text)


@bench.command("published")
def bench_published(
    name: Annotated[Literal["gedit", "imgedit"], Argument(help="Published benchmark.")],
    scores: Annotated[list[Path] | None, Option(help="Files or folders of its judge's scores; repeatable.")] = None,
    data: Annotated[Path | None, Option(help="GEdit's parquet or ImgEdit's basic_edit.json, or its folder.")] = None,
    out: Annotated[Path | None, Option(help="With --data: folder for cases.parquet.")] = None,
    edits: Annotated[Path | None, Option(help="With --out: a model's edits, to copy and name by case id.")] = None,
    language: Annotated[str, Option(help="GEdit's language: en or cn.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Import GEdit-Bench or ImgEdit-Bench, or summarize its scores.

    --scores prints the tables by the benchmark's own rule; --data with --out imports its cases for `bench run` and
    `bench score`.
    """
    from hpedit.bench.published import BENCHMARKS
    from hpedit.bench.published.published_benchmark import score_tables_text, write_benchmark

    if (out is not None or edits is not None) and (data is None or out is None):
        raise HPEditError("--out and --edits import a benchmark's cases", hint="give --data and --out with them")
    if scores:
        tables = BENCHMARKS[name].scores(scores, data, language)
        if as_json:
            print_json([table.as_dict() for table in tables])
        else:
            echo(score_tables_text(tables))
    if data is not None and out is not None:
        print_result(write_benchmark(BENCHMARKS[name], data, out, language, edits), as_json, figures_text)
    elif not scores:
        raise HPEditError("there is nothing to do", hint="give --scores FILES, or --data with --out")
