"""Where the chunks of a stage are worked on: in this process, or on a Ray cluster.

    task = LabelPhotos(...)                       # plain data: it is sent to the workers
    for counts in engine.map(task, chunks):       # each chunk's result is a file that the worker wrote
        ...

A worker opens a task once (it loads the models) and then calls what it got for chunk after chunk. A chunk's file does
not depend on who wrote it, in which order, or how often, so a worker that dies is replaced and its chunk done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from hpedit.errors import HPEditError

Counts = Mapping[str, int]
"""What was done in a chunk, by name; "items" is there always."""

ENGINES = ("local", "ray")


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


def engine_of(name: str, workers: int | None) -> Engine:
    """An engine by name.

    Args:
        name: One of ENGINES.
        workers: For ray: processes at once; None takes one for each CPU of the cluster.

    Raises:
        HPEditError: another name, or workers for an engine that has none.
    """
    if name == "ray":
        from hpedit.cases.engine.ray import RayEngine

        return RayEngine(workers)
    if name != "local":
        raise HPEditError(f"there is no engine {name!r}", hint=f"there are {', '.join(ENGINES)}")
    if workers not in (None, 1):
        raise HPEditError("the local engine works in this process alone", hint="--engine ray takes --workers")
    from hpedit.cases.engine.local import LocalEngine

    return LocalEngine()
