"""Dynamic batching: requests that arrive together run together.

    batcher = Batcher(judge.top20)             # a function of a list of questions
    result = await batcher.put(question)

The first request of a batch waits for others for a moment; while a batch runs, the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from hpedit.errors import HPEditError

WINDOW = 0.005
"""Seconds that the first request of a batch waits for others."""
MOST = 64
"""Requests in one batch."""
WAITING = 1024
"""Longest queue; further requests are refused, since they would time out anyway."""
Q = TypeVar("Q")
R = TypeVar("R")


class BatcherFull(Exception):
    """The batcher's queue is full."""


class Batcher(Generic[Q, R]):
    """Gathers questions and answers them in one call, in a worker thread.

    Args:
        answer: Gives one result per question, in order.
        window: See WINDOW.
        thread: Where it runs; batchers of one judge share it, since tokenizers are not thread-safe. None makes one that
            ends with the batcher.
    """

    def __init__(
        self, answer: Callable[[Sequence[Q]], list[R]], window: float = WINDOW, thread: ThreadPoolExecutor | None = None
    ) -> None:
        self._answer = answer
        self._window = window
        self._waiting: asyncio.Queue[tuple[Q, asyncio.Future[R]]] = asyncio.Queue(WAITING)
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._owns_thread = thread is None
        self._task: asyncio.Task[None] | None = None
        self.batches = 0

    async def put(self, question: Q) -> R:
        """Answer a question in the next batch.

        Raises:
            BatcherFull: the queue is full.
            HPEditError: this question can't be answered; others of its batch are not affected.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((question, result))
        except asyncio.QueueFull:
            raise BatcherFull from None
        return await result

    async def close(self) -> None:
        """Stop serving; waiting requests are cancelled."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._owns_thread:
            self._thread.shutdown(wait=False)

    async def _serve(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(self._window)
            while len(batch) < MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Clients that disconnected need no answer.
            batch = [item for item in batch if not item[1].done()]
            if batch:
                await self._run(batch)

    async def _run(self, batch: Sequence[tuple[Q, asyncio.Future[R]]]) -> None:
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._answer, [one for one, _ in batch])
        self.batches += 1
        await asyncio.wait([work])
        error = work.exception()
        if isinstance(error, HPEditError) and len(batch) > 1:
            # One question is at fault; asked one by one, only that one fails.
            for item in batch:
                await self._run([item])
            return
        for index, (_, waiting) in enumerate(batch):
            if waiting.done():
                continue
            if error:
                waiting.set_exception(error)
            else:
                waiting.set_result(work.result()[index])
