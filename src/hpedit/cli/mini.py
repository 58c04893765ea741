"""hpedit mini: the built-in mini world and its small models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, Seed

mini = typer.Typer(name="mini", help="Build the small models of the built-in mini world.", **PLAIN)


@mini.command("build")
def mini_build(
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("runs/mini-build"),
    stage: Annotated[Literal["vae", "editor", "judge", "all"], typer.Option(help="Which model to train.")] = "all",
    seed: Seed = 0,
) -> None:
    """Train the shipped mini weights from scratch (takes hours)."""
    from hpedit.mini.build import build

    build(out, stage, seed)


@mini.command("editor")
def mini_editor(
    kind: Annotated[
        Literal["qwen-image-edit-plus", "qwen-image-edit", "flux-kontext"], typer.Argument(help="Kind of pipeline.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to create.")],
) -> None:
    """Write a mini editor of one pipeline kind, for trying out code.

    Only qwen-image-edit-plus, the kind that `mini` is, edits well; flux-kontext has random weights.
    """
    from hpedit.mini.weights import make_editor

    make_editor(kind, out)
    typer.echo(str(out))
