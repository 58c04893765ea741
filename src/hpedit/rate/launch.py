"""Start a rating server (`hpedit rate serve`, `hpedit bench check`) on a folder of edits or cases."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from hpedit.progress import stage
from hpedit.rate.batched_writer import BatchedWriter
from hpedit.rate.gold import split_gold
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.items import (
    check_items,
    compare_items,
    count_cases,
    count_edits,
    load_cases_to_check,
    load_rated_images,
    score_items,
)
from hpedit.rate.practice import practice_items
from hpedit.rate.server import RatingApp, open_listener, run_until_signal, uvicorn_server
from hpedit.rate.sessions import RatingService, RatingSettings
from hpedit.ratings.store import RatingStore
from hpedit.web.security import NetworkPolicy, check_token, is_any_address


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the rating server listens, and who may connect."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    token: str | None = None
    names: tuple[str, ...] = ()
    """Further names under which it is reached."""


def prepare_rating(
    store: RatingStore,
    edits: Path,
    settings: RatingSettings,
    *,
    cases: Path | None = None,
    gold: Path | None = None,
    practice: int = 10,
) -> tuple[RatingService, ImageCache]:
    """Read the edits to rate, cache their images beside the store, and make the service; HPEditError if invalid."""
    cache = _image_cache(store)
    with stage("read edits", total=count_edits(edits)) as advance:
        rated_images = load_rated_images(edits, cache, cases, advance)
    items = score_items(rated_images) if settings.kind == "score" else compare_items(rated_images)
    rated, known = split_gold(items, gold, settings.kind)
    lessons = practice_items(rated_images, cache, settings.kind, practice)
    cache.seal()
    return RatingService(store, rated, settings, known, lessons), cache


def prepare_case_check(store: RatingStore, cases: Path, settings: RatingSettings) -> tuple[RatingService, ImageCache]:
    """Like `prepare_rating`, for cases (a parquet file) that are checked before any edit exists."""
    cache = _image_cache(store)
    with stage("read cases", total=count_cases(cases)) as advance:
        rated_images = load_cases_to_check(cases, cache, advance)
    cache.seal()
    return RatingService(store, check_items(rated_images), settings), cache


def _image_cache(store: RatingStore) -> ImageCache:
    return ImageCache(store.path.with_name(store.path.name + ".pictures"))


def serve_ratings(
    db: Path,
    address: ListenAddress,
    make: Callable[[RatingStore], tuple[RatingService, ImageCache]],
    say: Callable[[str], None] = print,
    enough: Callable[[RatingService], bool] | None = None,
) -> None:
    """Serve the rating page until SIGTERM or Ctrl-C; on return everything confirmed is on the disk.

    Args:
        make: makes service and image cache over the store: `prepare_rating` or `prepare_case_check` with its arguments.
        say: gets the address, which alone is data; the rest goes to stderr.
        enough: asked every second with the service; the server ends by itself when it says so.

    Raises:
        HPEditError: the edits, the store, the address or the token cannot be used.
    """
    check_token(address.host, address.token, address.names)
    with RatingStore.hold(db) as store:
        service, cache = make(store)
        service.require_token(address.token)
        with (
            open_listener(address.host, address.port) as listener,
            closing(BatchedWriter(store, service.reload)) as writer,
        ):
            port = listener.getsockname()[1]
            policy = NetworkPolicy.of_address(address.host, port, address.token, address.names)
            server = uvicorn_server(RatingApp(service, writer, cache, policy, port).app())

            def ready() -> None:
                sys.stderr.write(_start_message(store, service, policy))
                say(f"http://{_url_host(address.host)}:{port}/")
                sys.stdout.flush()

            if enough is not None:
                threading.Thread(target=_end_when, args=(partial(enough, service), server), daemon=True).start()
            run_until_signal(server, listener, ready)
        sys.stderr.write(f"stopped; {len(store.answers())} answers in {db}\n")


def _end_when(enough: Callable[[], bool], server: uvicorn.Server) -> None:
    while not server.should_exit:
        time.sleep(1.0)
        if enough():
            # The reply to the last answer, and a page that asks for the next item, still get through.
            time.sleep(1.0)
            server.should_exit = True


def _start_message(store: RatingStore, service: RatingService, policy: NetworkPolicy) -> str:
    """What is served, who can open it, and how many answers there are."""
    settings = service.settings
    raters, answers = len(store.raters()), sum(answer.phase != "practice" for answer in store.answers())
    what = {"score": "edits to score", "compare": "pairs to compare", "check": "cases to check"}[settings.kind]
    each = "1 rater" if settings.overlap == 1 else f"{settings.overlap} raters"
    lines = [f"{service.count} {what}, {each} each; so far {answers} answers of {raters} raters"]
    if policy.token:
        lines += [
            "raters need the token",
            f"the server answers to the names {', '.join(sorted(policy.hosts))}",
            "it does not encrypt: beyond a trusted network, put a TLS proxy or an SSH tunnel in front of it",
        ]
    else:
        lines.append("no token needed; only this machine can open the page")
    return "\n".join([*lines, "open the address below; Ctrl-C ends"]) + "\n"


def _url_host(host: str) -> str:
    if is_any_address(host):
        return "localhost"
    return f"[{host}]" if ":" in host else host
