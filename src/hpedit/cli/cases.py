"""hpedit cases: what an editor is trained and measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, Seed, print_json

cases = typer.Typer(name="cases", help="What an editor is trained and measured on.", **PLAIN)


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

    print_json(build_cases(source, out, src=src, count=count, scorer=scorer, model=model, seed=seed))
