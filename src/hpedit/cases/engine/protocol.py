"""The protocol of execution engines and their tasks, and the local engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Counts = Mapping[str, int]
"""Counts of a chunk by name; "items" is always there."""


class ChunkTask(Protocol):
    """Work on chunks: a picklable module-level dataclass."""

    @property
    def models(self) -> bool:
        """Whether it runs a network, and so needs a GPU."""
        ...

    def open(self) -> Callable[[Any], Counts]:
        """Load models once per worker; the result processes one chunk, writes its file and returns the counts."""
        ...


class Engine(Protocol):
    """Maps a task over chunks."""

    def map(self, task: ChunkTask, chunks: Sequence[Any]) -> Iterator[Counts]:
        """Yield the counts of each chunk, in any order; a worker's HPEditError is raised here, finished files stay."""
        ...


class LocalEngine:
    """Runs one chunk after the other in this process."""

    def map(self, task: ChunkTask, chunks: Sequence[Any]) -> Iterator[Counts]:
        """Yield the counts of each chunk in order; without chunks no model is loaded."""
        if chunks:
            yield from map(task.open(), chunks)
