"""`hpedit rate serve` and `hpedit bench check`: from a folder of edits, or cases, to a running server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpedit.progress import stage
from hpedit.rate.gold import split_gold
from hpedit.rate.items import (
    check_items,
    compare_items,
    count_cases,
    count_edits,
    load_cases_to_check,
    load_exhibits,
    score_items,
)
from hpedit.rate.pictures import PictureShelf
from hpedit.rate.practice import practice_items
from hpedit.rate.server import bind, serve
from hpedit.rate.sessions import Desk, RunSettings
from hpedit.ratings.store import RatingStore
from hpedit.web.security import Policy, check_token


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, and who may come."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    token: str | None = None
    names: tuple[str, ...] = ()
    """Further names under which it is reached."""


def prepare(
    store: RatingStore,
    edits: Path,
    settings: RunSettings,
    *,
    cases: Path | None = None,
    gold: Path | None = None,
    practice: int = 10,
) -> tuple[Desk, PictureShelf]:
    """Read the edits, encode their pictures beside the store, and make the desk. HPEditError for anything wrong."""
    shelf = PictureShelf(store.path.with_name(store.path.name + ".pictures"))
    with stage("read edits", total=count_edits(edits)) as advance:
        exhibits = load_exhibits(edits, shelf, cases, advance)
    items = score_items(exhibits) if settings.kind == "score" else compare_items(exhibits)
    rated, known = split_gold(items, gold, settings.kind)
    lessons = practice_items(exhibits, shelf, settings.kind, practice)
    shelf.seal()
    return Desk(store, rated, settings, known, lessons), shelf


def prepare_check(store: RatingStore, cases: Path, settings: RunSettings) -> tuple[Desk, PictureShelf]:
    """The same for cases (a parquet file) that are checked before anything edits them."""
    shelf = PictureShelf(store.path.with_name(store.path.name + ".pictures"))
    with stage("read cases", total=count_cases(cases)) as advance:
        exhibits = load_cases_to_check(cases, shelf, advance)
    shelf.seal()
    return Desk(store, check_items(exhibits), settings), shelf


Prepare = Callable[[RatingStore], tuple[Desk, PictureShelf]]


def serve_run(
    db: Path,
    settings: RunSettings,
    address: Address,
    make: Prepare,
    say: Callable[[str], None] = print,
    enough: Callable[[Desk], bool] | None = None,
) -> None:
    """Serve until it is told to stop.

    Args:
        make: Makes desk and shelf over the store: `prepare` or `prepare_check` with its arguments.
        say: Gets the address, which alone is data; the rest goes to stderr.
        enough: Asked every second with the service; the server ends by itself when it says so.

    Raises:
        HPEditError: The edits, the store, the address or the token cannot be used.
    """
    check_token(address.host, address.token, address.names)
    with RatingStore.hold(db) as store:
        desk, shelf = make(store)
        with bind(address.host, address.port) as listener:
            port = listener.getsockname()[1]
            policy = Policy.make(address.host, port, address.token, address.names)

            def ready() -> None:
                _tell(store, desk, settings, policy)
                say(f"http://{_readable(address.host)}:{port}/")
                sys.stdout.flush()

            serve(store, desk, shelf, policy, listener, ready, partial(enough, desk) if enough else None)
        sys.stderr.write(f"stopped; {len(store.answers())} answers in {db}\n")


def _tell(store: RatingStore, desk: Desk, settings: RunSettings, policy: Policy) -> None:
    """What is served, to whom, and how far it is."""
    raters, answers = len(store.raters()), sum(answer.phase != "practice" for answer in store.answers())
    what = {"score": "edits to score", "compare": "pairs to compare", "check": "cases to check"}[settings.kind]
    each = "1 rater" if settings.overlap == 1 else f"{settings.overlap} raters"
    lines = [
        f"{desk.count} {what}, {each} each; so far {answers} answers of {raters} raters",
        "raters need the token" if policy.token else "no token is asked for; only this machine can open the page",
        "open the address below; Ctrl-C ends",
    ]
    if policy.token:
        lines[2:2] = [
            f"the server answers to the names {', '.join(sorted(policy.hosts))}",
            "it does not encrypt: beyond a network that you trust, put a TLS proxy or an SSH tunnel before it",
        ]
    sys.stderr.write("\n".join(lines) + "\n")


def _readable(host: str) -> str:
    """The host as a browser takes it."""
    if host in ("0.0.0.0", "::", ""):
        return "localhost"
    return f"[{host}]" if ":" in host else host
