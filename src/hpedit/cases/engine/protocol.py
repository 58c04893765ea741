"""What a stage hands to an engine, and what an engine does with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Counts = Mapping[str, int]
"""What was done in a chunk, by name; "items" is there always."""


class Task(Protocol):
    """Work on chunks: a picklable dataclass at the top of a module."""

    @property
    def models(self) -> bool:
        """Whether it runs a network, and so has use for a GPU."""
        ...

    def open(self) -> Callable[[Any], Counts]:
        """Load what is needed, once a worker; the result does one chunk, writes its file and returns the counts."""
        ...


class Engine(Protocol):
    """What maps a task over chunks."""

    def map(self, task: Task, chunks: Sequence[Any]) -> Iterator[Counts]:
        """The counts of each chunk, in any order. HPEditError of a worker is raised here; finished files stay."""
        ...
