"""hpedit rate: collect human ratings of edits in the browser."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import (
    MOST_LEASE,
    PLAIN,
    AllowHost,
    AsJson,
    Host,
    Number,
    Port,
    RateToken,
    SeedOption,
    print_result,
)

rate = Typer(name="rate", help="Collect human ratings of edits in the browser.", **PLAIN)


@rate.command("serve")
def rate_serve(
    edits: Annotated[Path, Argument(help="Folder of a run, table of edits, or folder with a CSV of edits.")],
    db: Annotated[Path, Option(help="SQLite file of the ratings; an existing one is continued.")],
    cases: Annotated[Path | None, Option(help="Cases of the edits, if EDITS does not contain them.")] = None,
    mode: Annotated[Literal["score", "compare"], Option(help="Score edits, or choose between two.")] = "score",
    overlap: Annotated[int, Option(min=1, help="Raters per item.")] = 3,
    gold: Annotated[Path | None, Option(help="CSV with known scores: edit_id, expected (other_edit_id).")] = None,
    retest: Annotated[int, Option(min=0, help="Items that each rater sees twice.")] = 5,
    practice: Annotated[int, Option(min=0, max=10, help="Practice items with feedback at the start.")] = 10,
    lease: Annotated[
        float, Number(min=1, max=MOST_LEASE, help="Seconds for which an item is reserved for a rater.")
    ] = 600.0,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    token: RateToken = None,
    allow_host: AllowHost = None,
    seed: Annotated[str | None, Option(help="Seed of order and sides; default: drawn once and stored.")] = None,
) -> None:
    """Serve the rating page until Ctrl-C.

    Prints its address. Every answer is on disk before it is confirmed.
    """
    from hpedit.rate.launch import ListenAddress, prepare_rating, serve_ratings
    from hpedit.rate.sessions import RatingSettings

    settings = RatingSettings(mode, overlap, lease, retest, seed)
    address = ListenAddress(host, port, token or None, tuple(allow_host or ()))
    make = partial(prepare_rating, edits=edits, settings=settings, cases=cases, gold=gold, practice=practice)
    serve_ratings(db, address, make, say=echo)


@rate.command("agreement")
def rate_agreement(
    ratings: Annotated[Path, Argument(help="The app's .sqlite, a table (.csv, .jsonl), or Label Studio's .json.")],
    edits: Annotated[Path | None, Option(help="CSV of edit_id, source_id, if the ratings lack sources.")] = None,
    axis: Annotated[list[str] | None, Option(help="Only this axis of scores; repeatable.")] = None,
    margin: Annotated[
        float, Number(min=0.0, help="Minimum difference of the others' means to compare two edits.")
    ] = 0.0,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Report inter-rater agreement and flag careless raters.

    Figures are given with all raters and without the flagged ones; no rating is deleted.
    """
    from hpedit.ratings.agreement import agreement_of_file
    from hpedit.ratings.agreement_text import agreement_as_text

    report = agreement_of_file(ratings, edits, axis or (), margin, seed)
    print_result(report, as_json, agreement_as_text)
