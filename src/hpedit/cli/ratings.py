"""hpedit ratings: people's scores of edits as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, print_json
from hpedit.errors import HPEditError

ratings = typer.Typer(name="ratings", help="People's scores of edits.", **PLAIN)


@ratings.command("import")
def ratings_import(
    src: Annotated[Path, typer.Argument(help="The folder as published, or the file of answers.")],
    out: Annotated[Path, typer.Option(help="Folder for edits.csv, ratings.csv, scores.csv, votes.csv.")],
    format: Annotated[
        Literal["imagenhub", "magicbrush", "genai", "csv", "jsonl", "labelstudio"],
        typer.Option("--format", help="Whose layout it has."),
    ] = "imagenhub",
    control: Annotated[str, typer.Option(help="Label Studio: the control that holds the answer.")] = "",
) -> None:
    """Bring published or exported ratings into the form of this project."""
    from hpedit.scorer.tables.ratings_import import import_ratings

    print_json(import_ratings(format, src, out, control))


@ratings.command("export")
def ratings_export(
    out: Annotated[Path, typer.Option(help="File to write.")],
    db: Annotated[Path | None, typer.Option(help="Store of the rating app.")] = None,
    table: Annotated[Path | None, typer.Option(help="Instead: a table (.csv, .jsonl) or a Label Studio .json.")] = None,
    edits: Annotated[
        Path | None, typer.Option(help="With --table: CSV of edits, for sources and instructions.")
    ] = None,
    format: Annotated[Literal["csv", "jsonl", "labelstudio"], typer.Option("--format", help="What to write.")] = "csv",
    everything: Annotated[
        bool, typer.Option("--all", help="Also practice, retests, skips and what was taken back.")
    ] = False,
    version: Annotated[int | None, typer.Option(min=0, help="The answers as they stood at this version.")] = None,
) -> None:
    """Write the rating app's answers, or a table's, to a file.

    The export names its version; what was taken back since an earlier one is listed beside it.
    """
    from hpedit.rate.exchange.files import export_store, export_table

    if (db is None) == (table is None):
        raise HPEditError("give either --db or --table", hint="--db ratings.sqlite is the rating app's file")
    if db is not None:
        print_json(export_store(db, out, format, everything=everything, as_of=version))
    elif table is not None:
        print_json(export_table(table, edits, out, format))
