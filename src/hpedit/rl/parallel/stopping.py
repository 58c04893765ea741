"""Signals, and the safe points at which a run may be left.

    with listening():
        for iteration in ...:
            safe_point("forward")    # raises StopAsked once a signal came, unless `commit` was called
            commit()                 # from the first optimizer step on the iteration is finished
            ...
            release()

A signal never interrupts a statement: it sets a mark, which the next safe point obeys. So nothing is ever half swapped,
half summed or half written. Signals and threads belong to the process, and so does the one state of this module. What
safe points say of the run's progress is what `hpedit.rl.parallel.watchdog` watches.
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
        """For the user, in a few words: by what, and how far the run is."""

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
    """Note that the run makes progress, in a word or two, and stop here if that was asked.

    Raises:
        StopAsked: a signal came, and the iteration may still be abandoned.
    """
    progress(where)
    check()


def progress(where: str) -> None:
    """Note that the run makes progress; never raises."""
    _state.where, _state.progress = where, time.monotonic()


def check() -> None:
    """StopAsked if a signal came and the iteration may still be abandoned."""
    if _state.signum is not None and not _state.committed:
        raise StopAsked(_state.signum)


def waiting() -> None:
    """Note that the run waits for other processes, which is no stall of its own."""
    _state.progress = time.monotonic()


def silence() -> tuple[float, str]:
    """Seconds since the last progress, and where that was."""
    return time.monotonic() - _state.progress, _state.where


def stop_signal() -> int | None:
    """The signal that asked the run to stop, if one did."""
    return _state.signum


def request_stop(signum: int) -> None:
    """Ask for a stop, as a signal does."""
    if _state.signum is None:
        _state.signum, _state.heard = signum, time.monotonic()


def commit() -> None:
    """From here to `release` nothing is abandoned."""
    _state.committed = True


def release() -> None:
    """The iteration is whole."""
    _state.committed = False


def committed() -> bool:
    """Whether the iteration will be finished whatever is asked."""
    return _state.committed


@contextmanager
def listening() -> Iterator[None]:
    """Within it the first SIGINT or SIGTERM asks for a stop, and a second one leaves at once.

    Signals that the process ignores (SIGINT of a job in the background) stay ignored. In a thread that is not the main
    one Python allows no handlers, and nothing changes.
    """
    _state.signum, _state.committed = None, False
    progress("starting")
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A thread hears them through a pipe, for Python runs no handler while the main thread is inside a long C call.
    read, write = os.pipe()
    os.set_blocking(write, False)
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in heeded}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_hear, args=(read,), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(write)
        release()


def _hear(read: int) -> None:
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while byte := pipe.read(1):
            if byte[0] in SIGNALS:
                _take(byte[0])


def _take(signum: int) -> None:
    name = signal.Signals(signum).name
    if _state.signum is None:
        request_stop(signum)
        _say(f"{name}: the run stops at the next safe point and saves; a second {name} leaves at once")
    elif time.monotonic() - _state.heard > DUPLICATE:
        _say(f"{name} again: left at once; the same command continues from the last checkpoint")
        os._exit(128 + signum)


def _say(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return
