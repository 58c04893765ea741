"""hpedit plan: what a training run, or a whole `hpedit run`, needs before it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, echo

from hpedit.cli.common import AsJson, Settings, print_result


def plan(
    recipe: Annotated[Path, Argument(help="YAML recipe of `hpedit train` or `hpedit run`.")],
    settings: Settings = None,
    gpu: Annotated[str | None, Option(help="Plan for another machine with this GPU: H100, A100, RTX-4090, ...")] = None,
    gpus: Annotated[int | None, Option(min=1, max=4096, help="Total number of GPUs; default: WORLD_SIZE or 1.")] = None,
    measure: Annotated[
        bool | None, Option("--measure/--no-measure", help="Time a step here; default with a GPU.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, disk and time of a run before it starts.

    Also checks the recipe and reports all of its errors at once. Nothing is downloaded.
    """
    from hpedit.config.kinds import RUN, command_of
    from hpedit.plan.plan_text import render_plan

    number = gpus or max(1, int(os.environ.get("WORLD_SIZE") or 1))
    if command_of(recipe) == RUN:
        from hpedit.pipeline.plan import plan_stages
        from hpedit.pipeline.recipe import load_run_recipe

        whole = load_run_recipe(recipe, settings or [])
        found = plan_stages(whole, str(recipe), gpu=gpu, gpus=number, measure=measure)
    else:
        from hpedit.config.recipe import load_recipe
        from hpedit.plan.estimate import plan_run

        loaded = load_recipe(recipe, settings or [])
        found = plan_run(loaded, str(recipe), gpu=gpu, gpus=number, measure=measure)
    print_result(found, as_json, render_plan)
    for error in found["errors"]:
        echo(f"error: {error['message']}", err=True)
        if error["hint"]:
            echo(f"hint: {error['hint']}", err=True)
    if found["errors"]:
        raise Exit(2)
