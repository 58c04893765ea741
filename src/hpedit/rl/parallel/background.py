"""One thread that does jobs in order, and for which nobody waits longer than they want to.

A thread pool of the standard library is joined when Python ends; a judge that never answers would keep a finished run
from ending. This thread is a daemon, and `close` waits for a while only.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Final, TypeVar

from hpedit.rl.parallel import stopping

logger = logging.getLogger(__name__)

T = TypeVar("T")
POLL: Final = 0.2
"""Seconds between two looks at whether the run is to stop."""
GRACE: Final = 10.0
"""Seconds for which `close` waits for the job under way."""


class SingleThreadExecutor:
    """A thread for jobs; each finished one counts as progress of the run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Do `function(*args)` after the jobs before it."""
        future: Future[T] = Future()
        self._jobs.put((future, lambda: function(*args)))
        return future

    def close(self, grace: float = GRACE) -> None:
        """Drop the jobs that have not begun; wait `grace` seconds at most for the one under way."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(grace)
        if self._thread.is_alive():
            logger.warning("the %s has not finished within %.0f s and is left alone", self._name, grace)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if self._closed:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                found = call()
            except BaseException as error:  # raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(found)
            stopping.progress(self._name)


def result_of(future: Future[T]) -> T:
    """Wait for a result; what the job raised is raised here.

    Raises:
        StopAsked: the run is to stop.
    """
    while True:
        try:
            return future.result(timeout=POLL)
        except NotYet:
            if future.done():  # the job itself raised a TimeoutError
                return future.result()
            stopping.check()
