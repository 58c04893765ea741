"""hpedit mini: the embedded world and its small models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, Seed

mini = typer.Typer(name="mini", help="The embedded world and its small models.", **PLAIN)


@mini.command("build")
def mini_build(
    out: Annotated[Path, typer.Option(help="Where to write the weights.")] = Path("runs/mini-build"),
    stage: Annotated[Literal["vae", "editor", "judge", "all"], typer.Option(help="What to build.")] = "all",
    seed: Seed = 0,
) -> None:
    """Rebuild the shipped mini weights from scratch (hours)."""
    from hpedit.mini.build import build

    build(out, stage, seed)


@mini.command("editor")
def mini_editor(
    kind: Annotated[
        Literal["qwen-image-edit-plus", "qwen-image-edit", "flux-kontext"], typer.Argument(help="The pipeline's kind.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
) -> None:
    """Write a mini editor of one kind, to try code for that kind on.

    Only qwen-image-edit-plus, which is what `mini` stands for, edits well; flux-kontext has random weights.
    """
    from hpedit.mini.weights import make_editor

    make_editor(kind, out)
    typer.echo(str(out))
