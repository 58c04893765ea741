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
    from hpedit.ratings.import_export import export_store, export_table

    if (db is None) == (table is None):
        raise HPEditError("give either --db or --table", hint="--db ratings.sqlite is the rating app's file")
    if db is not None:
        print_json(export_store(db, out, format, everything=everything, as_of=version))
    elif table is not None:
        print_json(export_table(table, edits, out, format))


@ratings.command("pairs")
def ratings_pairs(
    cases: Annotated[Path, typer.Option(help="Folder of `hpedit cases build`, or a table of cases (parquet).")],
    out: Annotated[Path, typer.Option(help="Parquet to write.")],
    db: Annotated[Path | None, typer.Option(help="Store of the rating app: its scores and votes.")] = None,
    scores: Annotated[Path | None, typer.Option("--ratings", help="Instead: a table of scores.")] = None,
    votes: Annotated[Path | None, typer.Option(help="Instead of it, or with --ratings: a table of votes.")] = None,
    edits: Annotated[
        Path | None, typer.Option(help="Folder or table of the rated edits; left out, those in --cases.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Points between two edits at least; scores alone.")] = 1.0,
    floor: Annotated[float, typer.Option(help="A better edit of no more points is bad too; scores alone.")] = 2.0,
    lead: Annotated[float, typer.Option(help="Share of raters by which the winner leads; votes alone.")] = 0.0,
    circles: Annotated[
        Literal["drop", "weakest"],
        typer.Option(help="Of preferences that run in a circle, drop all or the weakest."),
    ] = "drop",
    rater_weights: Annotated[
        Path | None, typer.Option(help="CSV of rater, weight; 0 leaves a rater out, who is not named has 1.")
    ] = None,
) -> None:
    """Write pairs of a better and a worse edit, for offline DPO."""
    from hpedit.cases.pairs.decide import PairRules
    from hpedit.cases.pairs.table import build_pairs, case_tables, edit_tables, read_weights
    from hpedit.ratings.import_export import read_responses

    tables = [path for path in (db, scores, votes) if path is not None]
    if not tables or (db is not None and len(tables) > 1):
        raise HPEditError("give either --db, or --ratings and --votes, or one of these")
    weights = {} if rater_weights is None else read_weights(rater_weights)
    rules = PairRules(margin=margin, floor=floor, lead=lead, circles=circles, rater_weights=weights)
    responses = [response for table in tables for response in read_responses(table)]
    print_json(build_pairs(responses, case_tables(cases), edit_tables(edits or cases), out, rules))
