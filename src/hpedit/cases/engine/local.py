"""The engine that needs nothing: one chunk after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hpedit.cases.engine.protocol import Counts, Task


class LocalEngine:
    """Works in this process."""

    def map(self, task: Task, chunks: Sequence[Any]) -> Iterator[Counts]:
        """The counts of each chunk, in their order; no model is loaded for no chunks."""
        if not chunks:
            return
        work = task.open()
        for chunk in chunks:
            yield work(chunk)
