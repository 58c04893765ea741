"""hpedit ratings: import, export and pair human ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from hpedit.cli.common import PLAIN, AsJson, Number, print_result
from hpedit.cli.figures import figures_text
from hpedit.errors import HPEditError

ratings = Typer(name="ratings", help="Import and export human ratings; make preference pairs.", **PLAIN)


@ratings.command("import")
def ratings_import(
    src: Annotated[Path, Argument(help="The published folder, or the file of answers.")],
    out: Annotated[Path, Option(help="Folder for edits.csv, ratings.csv, scores.csv, votes.csv.")],
    format: Annotated[
        Literal["imagenhub", "magicbrush", "genai", "csv", "jsonl", "labelstudio"],
        Option("--format", help="Format of SRC."),
    ] = "imagenhub",
    control: Annotated[str, Option(help="Label Studio: name of the control that holds the answer.")] = "",
    edit_field: Annotated[
        str, Option(help="Label Studio: the data's field with the edit's id; two for votes, as a,b.")
    ] = "",
    scale: Annotated[str, Option(help="Lowest and highest score of the raters as LOW:HIGH, such as 1:5.")] = "",
    column: Annotated[
        list[str] | None, Option(help="csv, jsonl: OURS=THEIRS, such as score=responses.0.value; repeatable.")
    ] = None,
    word: Annotated[list[str] | None, Option(help="THEIRS=OURS, such as leftvote=A; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Convert published or exported ratings to this project's tables."""
    from hpedit.ratings.reading_rules import parse_rules
    from hpedit.scorer.tables.ratings_import import import_ratings

    rules = parse_rules(control, edit_field, scale, column or (), word or ())
    print_result(import_ratings(format, src, out, rules), as_json, figures_text)


@ratings.command("export")
def ratings_export(
    out: Annotated[Path, Option(help="File to write.")],
    db: Annotated[Path | None, Option(help="SQLite file of the rating app.")] = None,
    table: Annotated[Path | None, Option(help="Instead of --db: table (.csv, .jsonl) or Label Studio .json.")] = None,
    edits: Annotated[Path | None, Option(help="With --table: CSV of edits, for sources and instructions.")] = None,
    format: Annotated[Literal["csv", "jsonl", "labelstudio"], Option("--format", help="Format of OUT.")] = "csv",
    everything: Annotated[bool, Option("--all", help="Also practice, retests, skips and withdrawn answers.")] = False,
    version: Annotated[int | None, Option(min=0, help="Export the answers as of this version.")] = None,
    as_json: AsJson = False,
) -> None:
    """Export the rating app's answers, or convert a table of ratings.

    The export states its version; answers withdrawn since an earlier export are listed beside it.
    """
    from hpedit.ratings.import_export import export_store, export_table

    if (db is None) == (table is None):
        raise HPEditError("give either --db or --table", hint="--db ratings.sqlite is the rating app's file")
    if db is not None:
        found = export_store(db, out, format, everything=everything, as_of=version)
        print_result(found, as_json, figures_text)
    elif table is not None:
        print_result(export_table(table, edits, out, format), as_json, figures_text)


@ratings.command("pairs")
def ratings_pairs(
    cases: Annotated[Path, Option(help="Folder of `hpedit cases build`, or a table of cases (parquet).")],
    out: Annotated[Path, Option(help="Parquet file to write.")],
    db: Annotated[Path | None, Option(help="SQLite file of the rating app: its scores and votes.")] = None,
    scores: Annotated[Path | None, Option("--ratings", help="Table of scores, instead of --db.")] = None,
    votes: Annotated[Path | None, Option(help="Table of votes, instead of --db or together with --ratings.")] = None,
    edits: Annotated[Path | None, Option(help="Folder or table of the rated edits; default: --cases.")] = None,
    margin: Annotated[float, Number(help="Scores: minimum difference between two edits, in points.")] = 1.0,
    floor: Annotated[float, Number(help="Scores: the better edit must score above this.")] = 2.0,
    lead: Annotated[float, Number(help="Votes: minimum lead of the winner, as a share of the raters.")] = 0.0,
    circles: Annotated[
        Literal["drop", "weakest"], Option(help="In a preference cycle, drop all or the weakest.")
    ] = "drop",
    rater_weights: Annotated[Path | None, Option(help="CSV of rater, weight; 0 excludes a rater, default 1.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make preference pairs (better and worse edit) for offline DPO."""
    from hpedit.cases.folder import CasesFolder
    from hpedit.cases.pairs.pair_table import build_pairs, edit_tables, read_weights
    from hpedit.cases.pairs.preferences import PairRules
    from hpedit.ratings.import_export import read_responses

    tables = [path for path in (db, scores, votes) if path is not None]
    if not tables or (db is not None and len(tables) > 1):
        raise HPEditError("give either --db, or --ratings and --votes, or one of these")
    weights = {} if rater_weights is None else read_weights(rater_weights)
    rules = PairRules(margin=margin, floor=floor, lead=lead, circles=circles, rater_weights=weights)
    responses = [response for table in tables for response in read_responses(table)]
    found = build_pairs(responses, CasesFolder(cases).case_files(), edit_tables(edits or cases), out, rules)
    print_result(found, as_json, figures_text)
