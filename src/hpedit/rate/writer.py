"""One thread writes: requests queue their operations, and those that wait share one fsynced transaction.

So no request ever meets a locked database, and a slow disk is waited for once for all who wait, not once for each.
An operation's caller gets its result only after the commit: what a client is told is on the disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from hpedit.errors import HPEditError
from hpedit.ratings.store import RatingStore, StoreFault

BATCH = 256
"""Most operations in one transaction."""

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "Future[Any]"]


class Writer:
    """The thread that owns the writing store. `submit` from any other thread; `close` ends it.

    Args:
        store: Held for writing.
        undo: Called before the next transaction after one was rolled back, to bring what is kept in memory back in
            step with the disk.
    """

    def __init__(self, store: RatingStore, undo: Callable[[], None]) -> None:
        self._store = store
        self._undo = undo
        self._stale = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ratings writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[], T]) -> Future[T]:
        """Queue `operation`. Its future ends after the commit, or with StoreFault if nothing of it was stored.

        An operation may refuse by an HPEditError as long as it has written nothing; the others of its transaction
        go on.
        """
        future: Future[T] = Future()
        self._jobs.put((operation, future))
        return future

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = [self._jobs.get()]
            while len(batch) < BATCH and not self._jobs.empty():
                batch.append(self._jobs.get_nowait())
            open_ = None not in batch
            # What its caller has given up is not begun; what is begun can't be given up any more.
            self._commit([job for job in batch if job is not None and job[1].set_running_or_notify_cancel()])

    def _commit(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        outcomes: list[tuple[Future[Any], Any, HPEditError | None]] = []
        try:
            with self._store.transaction():
                if self._stale:
                    self._undo()
                    self._stale = False
                for operation, future in jobs:
                    try:
                        outcomes.append((future, operation(), None))
                    except HPEditError as refusal:
                        outcomes.append((future, None, refusal))
        except Exception as error:
            # Whatever it was, nothing is stored: every caller hears of it, and the thread must live on.
            self._stale = True
            self._fail(jobs, error)
            return
        for future, result, refused in outcomes:
            if refused is None:
                future.set_result(result)
            else:
                future.set_exception(refused)

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        """A bug in one operation must not fail the others that happened to share its transaction."""
        if len(jobs) > 1 and not isinstance(error, StoreFault):
            for job in jobs:
                self._commit([job])
            return
        for _, future in jobs:
            future.set_exception(error)
