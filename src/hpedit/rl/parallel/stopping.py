"""Graceful stop on SIGINT and SIGTERM: safe points at which a training run may be left.

    with listening():
        for iteration in ...:
            safe_point("forward")    # raises StopAsked once a signal came, unless `commit` was called
            commit()                 # from the first optimizer step on the iteration is finished
            ...
            release()

A signal never interrupts a statement: it sets a flag that the next safe point checks. So nothing is ever half swapped,
half summed or half written. Signals and threads belong to the process, and so does the one state of this module. Safe
points also record progress, which `hpedit.rl.parallel.watchdog` monitors for stalls.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
DUPLICATE: Final = 2.0
"""Seconds within which further signals count as the same: a terminal and a launcher both pass one Ctrl-C on."""


class StopAsked(BaseException):
    """A signal asked the run to stop. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.advice = f"stopped by {self}"
        """For the user: by what it was stopped, and how far the run is."""

    @property
    def code(self) -> int:
        """Exit code: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signum


@dataclass(slots=True)
class _State:
    signum: int | None = None
    heard: float = 0.0
    committed: bool = False
    progress: float = field(default_factory=time.monotonic)
    where: str = "starting"


_state = _State()


def safe_point(where: str) -> None:
    """Record progress (where, in a word or two), and stop here if a signal asked for it.

    Raises:
        StopAsked: a signal came, and the iteration may still be abandoned.
    """
    progress(where)
    check()


def progress(where: str) -> None:
    """Record that the run makes progress; never raises."""
    _state.where, _state.progress = where, time.monotonic()


def check() -> None:
    """StopAsked if a signal came and the iteration may still be abandoned."""
    if _state.signum is not None and not _state.committed:
        raise StopAsked(_state.signum)


def waiting() -> None:
    """Record that the run waits for other processes, which is not a stall of its own."""
    _state.progress = time.monotonic()


def silence() -> tuple[float, str]:
    """Seconds since the last progress, and where that was."""
    return time.monotonic() - _state.progress, _state.where


def stop_signal() -> int | None:
    """The signal that asked the run to stop, if one did."""
    return _state.signum


def request_stop(signum: int) -> None:
    """Request a stop, as a signal does."""
    if _state.signum is None:
        _state.signum, _state.heard = signum, time.monotonic()


def commit() -> None:
    """From here to `release` the iteration is finished, whatever signal comes."""
    _state.committed = True


def release() -> None:
    """The iteration is complete; signals are obeyed again."""
    _state.committed = False


def committed() -> bool:
    """Whether the iteration will be finished whatever signal comes."""
    return _state.committed


@contextmanager
def listening() -> Iterator[None]:
    """Handle signals within the block: the first SIGINT or SIGTERM requests a stop, a second one exits at once.

    Signals that the process ignores (SIGINT of a background job) stay ignored. Outside the main thread Python allows no
    handlers, and nothing changes.
    """
    _state.signum, _state.committed = None, False
    progress("starting")
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A thread hears them through a pipe, since Python runs no handler while the main thread is inside a long C call.
    read, write = os.pipe()
    os.set_blocking(write, False)
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in heeded}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_hear_signals, args=(read,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(write)
        release()


def _hear_signals(read: int) -> None:
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while byte := pipe.read(1):
            if byte[0] in SIGNALS:
                _take_signal(byte[0])


def _take_signal(signum: int) -> None:
    name = signal.Signals(signum).name
    if _state.signum is None:
        request_stop(signum)
        print_stderr(f"{name}: the run saves and stops at the next safe point; a second {name} exits at once")
    elif time.monotonic() - _state.heard > DUPLICATE:
        print_stderr(f"{name} again: exiting at once; the same command continues from the last checkpoint")
        os._exit(128 + signum)


def print_stderr(line: str) -> None:
    """Print a line to stderr, if anybody still reads it."""
    try:
        sys.stderr.write(line.rstrip("\n") + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return
