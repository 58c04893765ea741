"""Progress on stderr: a progress bar with ETA on a terminal, an occasional plain line elsewhere (logs, CI, pipes).

stdout is for data only. rich is imported when a bar is first drawn, so that `hpedit --help` stays fast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_EVERY_SECONDS = 15.0
"""Seconds between two lines where no bar can be drawn: often enough to see progress, rare enough for a log."""

Advance = Callable[[int], None]


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show the progress of a stage; its block calls `advance(n)` whenever n units are done.

    Args:
        name: Description of the stage.
        total: Total units; may be 0.
        done: Units already done by an earlier, interrupted run; not counted in the ETA.
    """
    shown = _rich_bar(name, total, done) if sys.stderr.isatty() else _plain_lines(name, total, done)
    with shown as advance:
        yield advance


@contextmanager
def _rich_bar(name: str, total: int, done: int) -> Iterator[Advance]:
    # rich honours NO_COLOR and the terminal's width.
    from rich import progress
    from rich.console import Console

    units = (progress.TextColumn("{task.description:<28}"), progress.BarColumn(), progress.MofNCompleteColumn())
    times = (progress.TimeElapsedColumn(), progress.TextColumn("ETA"), progress.TimeRemainingColumn())
    # Batches take unequal time; a long window keeps the estimate from jumping.
    with progress.Progress(*units, *times, console=Console(stderr=True), speed_estimate_period=120.0) as bar:
        task = bar.add_task(name, total=total, completed=done)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _plain_lines(name: str, total: int, done: int) -> Iterator[Advance]:
    began = spoke = time.monotonic()
    now_done = done

    def advance(count: int) -> None:
        nonlocal now_done, spoke
        now_done += count
        now = time.monotonic()
        if now - spoke >= PLAIN_EVERY_SECONDS:
            spoke = now
            rate = (now_done - done) / (now - began)
            eta = f", ETA {_format_clock((total - now_done) / rate)}" if rate > 0 and now_done < total else ""
            _write_stderr_line(f"{name}: {now_done}/{total}, {_format_clock(now - began)}{eta}")

    _write_stderr_line(f"{name}: 0/{total}" if not done else f"{name}: continues at {done}/{total}")
    yield advance
    _write_stderr_line(f"{name}: {now_done}/{total} done in {_format_clock(time.monotonic() - began)}")


def _write_stderr_line(line: str) -> None:
    """Write a line to stderr; a closed stderr must not stop a run."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return


def _format_clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, remainder = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"


def note(line: str) -> None:
    """Write a note to stderr, such as what was left out."""
    sys.stderr.write(f"note: {line}\n")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Context without progress bars and warnings of diffusers and transformers; restores their log levels."""
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
