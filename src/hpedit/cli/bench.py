"""hpedit bench: how good a model's edits are, on the same cases and seeds as another's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpedit.cli.common import PLAIN, Seed, print_json

bench = typer.Typer(name="bench", help="How good a model's edits are, beside another's.", **PLAIN)


@bench.command("run")
def bench_run(
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
    print_json(summary)


@bench.command("report")
def bench_report(folder: Annotated[Path, typer.Argument(help="Folder of a benchmark.")]) -> None:
    """Write the report of a benchmark again."""
    from hpedit.commands import write_bench_report

    typer.echo(str(write_bench_report(folder)))
