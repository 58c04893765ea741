"""hpedit ratings: people's scores of edits as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, print_json

ratings = typer.Typer(name="ratings", help="People's scores of edits.", **PLAIN)


@ratings.command("import")
def ratings_import(
    src: Annotated[Path, typer.Argument(help="The folder as published.")],
    out: Annotated[Path, typer.Option(help="Folder for edits.csv, ratings.csv and scores.csv.")],
    format: Annotated[Literal["imagenhub"], typer.Option("--format", help="Whose layout it has.")] = "imagenhub",
) -> None:
    """Bring published ratings into the form of this project."""
    from hpedit.scorer.ratings_import import import_ratings

    print_json(import_ratings(format, src, out))
