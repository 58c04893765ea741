"""Where the chunks of a stage are worked on: in this process, or on a Ray cluster.

    task = LabelPhotos(...)                       # plain data: it is sent to the workers
    for counts in engine.map(task, chunks):       # each chunk's result is a file that the worker wrote
        ...

A worker opens a task once (it loads the models) and then calls what it got for chunk after chunk. A chunk's file does
not depend on who wrote it, in which order, or how often, so a worker that dies is replaced and its chunk done again.
"""

from __future__ import annotations

from hpedit.cases.engine.protocol import Engine
from hpedit.errors import HPEditError

ENGINES = ("local", "ray")


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
