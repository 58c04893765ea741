"""hpedit rate: people score edits in a browser."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, Seed, print_json

rate = typer.Typer(name="rate", help="People score edits in a browser.", **PLAIN)


@rate.callback()
def _root() -> None:
    """Keep `serve` a command of its own, however few there are."""


@rate.command("serve")
def rate_serve(
    edits: Annotated[Path, typer.Argument(help="Folder of a run, table of edits, or folder with a CSV of edits.")],
    db: Annotated[Path, typer.Option(help="SQLite file of the ratings; the same command continues it.")],
    cases: Annotated[Path | None, typer.Option(help="Cases of the edits, where EDITS does not hold them.")] = None,
    mode: Annotated[Literal["score", "compare"], typer.Option(help="Score edits, or choose between two.")] = "score",
    overlap: Annotated[int, typer.Option(min=1, help="Raters an item.")] = 3,
    gold: Annotated[
        Path | None, typer.Option(help="CSV of edits whose score is known: edit_id, expected (other_edit_id).")
    ] = None,
    retest: Annotated[int, typer.Option(min=0, help="Items that a rater is shown a second time.")] = 5,
    practice: Annotated[int, typer.Option(min=0, max=10, help="Items with feedback before the first.")] = 10,
    lease: Annotated[float, typer.Option(min=1, help="Seconds for which an item is kept for a rater.")] = 600.0,
    host: Annotated[str, typer.Option(help="Address; any but this machine's own needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8600,
    token: Annotated[
        str | None,
        typer.Option(envvar="HPEDIT_RATE_TOKEN", help="What raters must know; better by the environment variable."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name of the server, of a reverse proxy say; can be repeated.")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Of order and sides; drawn and kept where none is given.")] = None,
) -> None:
    """Serve the rating page until Ctrl-C.

    Prints its address; each answer is on the disk before it is confirmed.
    """
    from hpedit.rate.launch import ListenAddress, prepare_rating, serve_ratings
    from hpedit.rate.sessions import RatingSettings

    settings = RatingSettings(mode, overlap, lease, retest, seed)
    address = ListenAddress(host, port, token or None, tuple(allow_host or ()))
    make = partial(prepare_rating, edits=edits, settings=settings, cases=cases, gold=gold, practice=practice)
    serve_ratings(db, address, make, say=typer.echo)


@rate.command("agreement")
def rate_agreement(
    ratings: Annotated[Path, typer.Argument(help="The app's .sqlite, a table (.csv, .jsonl), a Label Studio .json.")],
    edits: Annotated[
        Path | None, typer.Option(help="CSV of edits: edit_id, source_id; where the ratings name no source.")
    ] = None,
    axis: Annotated[list[str] | None, typer.Option(help="Only this axis of scores; can be repeated.")] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, help="Pairs of any two edits: least difference of the others' means.")
    ] = 0.0,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say how well raters agree, and who is careless.

    Figures of all raters, and again without the flagged ones; nothing is deleted.
    """
    from hpedit.ratings.agreement import agreement_of_file
    from hpedit.ratings.agreement_text import agreement_as_text

    report = agreement_of_file(ratings, edits, axis or (), margin, seed)
    if as_json:
        print_json(report)
    else:
        typer.echo(agreement_as_text(report))
