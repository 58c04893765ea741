"""Progress on stderr: a bar with an ETA on a terminal, an occasional plain line elsewhere (logs, CI, pipes).

stdout carries data alone. rich is imported when a bar is first drawn, so that `hpedit --help` does not pay for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_EVERY_SECONDS = 15.0
"""How often a stage speaks where no bar can be drawn: often enough to see that it lives, rare enough for a log."""

Advance = Callable[[int], None]
Listener = Callable[[str, int, int], None]
"""(what is being done, units done, units in all)."""
_LISTENERS: list[Listener] = []


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far a stage is; its block calls `advance(n)` whenever n units are done.

    Args:
        name: What is being done, as a person would say it.
        total: Units in all, 0 if nothing is to be done.
        done: Units that an earlier, interrupted run already did; the ETA leaves them out.
    """
    shown = _bar(name, total, done) if sys.stderr.isatty() else _plain(name, total, done)
    so_far = done
    with shown as advance:

        def heard(count: int) -> None:
            nonlocal so_far
            so_far += count
            advance(count)
            tell(name, so_far, total)

        tell(name, done, total)
        yield heard


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within it the listener hears of the progress of every stage of this process."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def tell(name: str, done: int, total: int) -> None:
    """Tell listeners how far something is."""
    for listener in _LISTENERS:
        listener(name, done, total)


@contextmanager
def _bar(name: str, total: int, done: int) -> Iterator[Advance]:
    # rich honours NO_COLOR and the terminal's width by itself.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        # Stages move in unequal batches; a long window keeps the estimate from jumping.
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120.0) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


@contextmanager
def _plain(name: str, total: int, done: int) -> Iterator[Advance]:
    began = spoke = time.monotonic()
    now_done = done

    def advance(count: int) -> None:
        nonlocal now_done, spoke
        now_done += count
        now = time.monotonic()
        if now - spoke >= PLAIN_EVERY_SECONDS:
            spoke = now
            rate = (now_done - done) / (now - began)
            eta = f", ETA {_clock((total - now_done) / rate)}" if rate > 0 and now_done < total else ""
            _say(f"{name}: {now_done}/{total}, {_clock(now - began)}{eta}")

    _say(f"{name}: 0/{total}" if not done else f"{name}: continues at {done}/{total}")
    yield advance
    _say(f"{name}: {now_done}/{total} done in {_clock(time.monotonic() - began)}")


def _say(line: str) -> None:
    """One line to stderr; a closed stderr must not stop a run."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return


def _clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, remainder = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"


def note(line: str) -> None:
    """One line to stderr that a person should read, such as what was left out."""
    sys.stderr.write(f"note: {line}\n")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Within it diffusers and transformers draw no progress bars and log errors alone; afterwards all is as before."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    levels = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    try:
        for library, _ in levels:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, level in levels:
            library.set_verbosity(level)
            library.enable_progress_bar()
