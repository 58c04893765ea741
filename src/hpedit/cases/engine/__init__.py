"""Execution engines: run a stage's chunks in this process or on a Ray cluster.

    task = LabelPhotos(...)                       # plain data, sent to the workers
    for counts in engine.map(task, chunks):       # the worker has written each chunk's file
        ...

A worker opens a task once (which loads the models) and processes chunk after chunk. A chunk's file does not depend on
the worker, the order or the number of attempts, so the chunk of a worker that died is simply repeated.
"""

from __future__ import annotations

from hpedit.cases.engine.protocol import Engine, LocalEngine
from hpedit.errors import HPEditError

ENGINES = ("local", "ray")


def load_engine(name: str, workers: int | None) -> Engine:
    """Load an execution engine by name.

    Args:
        name: One of ENGINES.
        workers: For ray: number of processes; None = one for each CPU of the cluster.

    Raises:
        HPEditError: unknown name, or workers for the local engine.
    """
    if name == "ray":
        from hpedit.cases.engine.ray import RayEngine

        return RayEngine(workers)
    if name != "local":
        raise HPEditError(f"unknown engine {name!r}", hint=f"choose from {', '.join(ENGINES)}")
    if workers not in (None, 1):
        raise HPEditError("the local engine has a single process", hint="--workers needs --engine ray")
    return LocalEngine()
