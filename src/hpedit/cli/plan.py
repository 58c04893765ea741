"""hpedit plan: what a training run needs, before it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hpedit.cli.common import AsJson, Settings, print_json


def plan(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe of a training run, see the folder recipes/.")],
    settings: Settings = None,
    gpu: Annotated[
        str | None, typer.Option(help="Plan for another machine with this GPU: H100, A100, RTX-4090, ...")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Total GPUs, one process each; default: WORLD_SIZE or 1.")
    ] = None,
    measure: Annotated[
        bool | None, typer.Option("--measure/--no-measure", help="Time a training step here. Default: only with a GPU.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, disk space and time of a training run.

    Also checks the recipe and reports all of its errors at once. Nothing is downloaded.
    """
    from hpedit.config.recipe import load_recipe
    from hpedit.plan.estimate import plan_run
    from hpedit.plan.plan_text import render_plan

    loaded = load_recipe(recipe, settings or [])
    number = gpus or max(1, int(os.environ.get("WORLD_SIZE") or 1))
    found = plan_run(loaded, str(recipe), gpu=gpu, gpus=number, measure=measure)
    if as_json:
        print_json(found)
    else:
        typer.echo(render_plan(found))
    for error in found["errors"]:
        typer.echo(f"error: {error['message']}", err=True)
        if error["hint"]:
            typer.echo(f"hint: {error['hint']}", err=True)
    if found["errors"]:
        raise typer.Exit(2)
