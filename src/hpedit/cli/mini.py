"""hpedit mini: the built-in mini world and its small models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import PLAIN, SeedOption

mini = Typer(name="mini", help="Build the small models of the built-in mini world.", **PLAIN)


@mini.command("build")
def mini_build(
    out: Annotated[Path, Option(help="Folder for the weights.")] = Path("runs/mini-build"),
    stage: Annotated[Literal["vae", "editor", "judge", "all"], Option(help="Which model to train.")] = "all",
    seed: SeedOption = 0,
) -> None:
    """Train the shipped mini weights from scratch (takes hours)."""
    from hpedit.mini.build import build

    build(out, stage, seed)


@mini.command("editor")
def mini_editor(
    kind: Annotated[Literal["qwen-image-edit-plus", "qwen-image-edit", "flux-kontext"], Argument(help="Pipeline.")],
    out: Annotated[Path, Option(help="Folder to create.")],
) -> None:
    """Write a mini editor of one pipeline kind, for trying out code.

    Only qwen-image-edit-plus, the kind that `mini` is, edits well; flux-kontext has random weights.
    """
    from hpedit.mini.weights import make_editor

    make_editor(kind, out)
    echo(str(out))
