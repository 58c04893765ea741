"""A single writer thread for the ratings database: operations that wait share one fsynced transaction (group commit).

So no request meets a locked database, and a slow disk delays all waiting requests once instead of each in turn. The
caller of an operation gets its result only after the commit: whatever the server confirms is on the disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from hpedit.errors import HPEditError
from hpedit.ratings.store import RatingStore, StoreFault

BATCH = 256
"""Maximum number of operations in one transaction."""

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "Future[Any]"]


class BatchedWriter:
    """The thread that writes to the store. `submit` from any other thread; `close` ends it.

    Args:
        store: held for writing.
        reload: called before the next transaction after a rollback, to bring the state in memory back in step with the
            disk.
    """

    def __init__(self, store: RatingStore, reload: Callable[[], None]) -> None:
        self._store = store
        self._reload = reload
        self._stale = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ratings writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[], T]) -> Future[T]:
        """Queue `operation`; its future completes after the commit, or with StoreFault if nothing was stored.

        An operation may raise HPEditError as long as it has written nothing; the others of its transaction go on.
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
            # A cancelled operation is not started; one that is running can't be cancelled any more.
            self._commit([job for job in batch if job is not None and job[1].set_running_or_notify_cancel()])

    def _commit(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        results: list[Callable[[], None]] = []
        try:
            with self._store.transaction():
                if self._stale:
                    self._reload()
                    self._stale = False
                for operation, future in jobs:
                    try:
                        results.append(partial(future.set_result, operation()))
                    except HPEditError as refusal:
                        results.append(partial(future.set_exception, refusal))
        except Exception as error:
            # Whatever it was, nothing is stored: every caller gets the error, and the thread goes on.
            self._stale = True
            self._fail(jobs, error)
            return
        for set_outcome in results:
            set_outcome()

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        """Fail the jobs; since a bug in one must not fail those that shared its transaction, each is retried alone."""
        if len(jobs) > 1 and not isinstance(error, StoreFault):
            for job in jobs:
                self._commit([job])
            return
        for _, future in jobs:
            future.set_exception(error)
