"""The engine for more than one process or machine: Ray Data, a pool of actors over the chunks.

Every worker must see the build's folder and its sources under the same path (one machine, or a shared file system):
files do not travel through Ray, only the names of chunks and counts do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
import ray.data

from hpedit.cases.engine.protocol import ChunkTask, Counts
from hpedit.cases.source_items import Chunk
from hpedit.errors import HPEditError

MAX_BLOCKS = 2000
"""A block is what Ray schedules, and does again when a worker dies; each costs some milliseconds."""
STORE_BYTES = 100 * 2**20
"""Memory for objects of a cluster that is started here: counts alone go through it."""
THREADS = "OMP_NUM_THREADS"


class ChunkActor:
    """An actor: a task that was opened once."""

    def __init__(self, task: ChunkTask) -> None:
        """Load the task's models."""
        # An error of the user's (no such model) must reach the user as it is, not as a crash of the pool.
        self._error: HPEditError | None = None
        try:
            self._work = task.open()
        except HPEditError as error:
            self._error = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do these chunks; one JSON text of the counts, or of the error, for each."""
        return {"report": [json.dumps(self._report(_unpacked(str(text)))) for text in batch["chunk"]]}

    def _report(self, chunk: int | Chunk) -> dict[str, Any]:
        try:
            if self._error is not None:
                raise self._error
            return {"counts": dict(self._work(chunk))}
        except HPEditError as error:
            return {"error": error.message, "hint": error.hint}


class RayEngine:
    """Works on the Ray cluster that RAY_ADDRESS names, or else on one that is started on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        """Connect, or start the cluster; `workers` None takes one for each of its CPUs."""
        if not ray.is_initialized():
            _start(workers)
        self.workers = workers or max(1, _resource("CPU"))

    def map(self, task: ChunkTask, chunks: Sequence[Any]) -> Iterator[Counts]:
        """The counts of each chunk, as they come; what a dying worker had in hand is done again by another."""
        if not chunks:
            return
        ray.data.DataContext.get_current().enable_progress_bars = False
        gpus = _resource("GPU") if task.models else 0
        wanted = min(self.workers, len(chunks), gpus or self.workers)
        # In the rows and not among the worker's arguments: those are lost to a worker that has to be started again.
        rows = [{"chunk": _packed(chunk)} for chunk in chunks]
        reports = ray.data.from_items(rows, override_num_blocks=min(len(rows), MAX_BLOCKS)).map_batches(
            ChunkActor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=wanted),
            num_cpus=1,
            num_gpus=1 if gpus else None,
            fn_constructor_kwargs={"task": task},
        )
        for row in reports.iter_rows():
            report = json.loads(row["report"])
            if "error" in report:
                raise HPEditError(report["error"], hint=report["hint"])
            yield report["counts"]


def _packed(chunk: int | Chunk) -> str:
    """A chunk as JSON."""
    return json.dumps(chunk if isinstance(chunk, int) else [chunk.source, chunk.number, chunk.items])


def _unpacked(text: str) -> int | Chunk:
    """The chunk of a JSON text."""
    found = json.loads(text)
    return found if isinstance(found, int) else Chunk(found[0], found[1], tuple(found[2]))


def _resource(name: str) -> int:
    """How many CPUs or GPUs the cluster has."""
    found: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(found.get(name, 0))


def _start(workers: int | None) -> None:
    """Start or join a cluster, quietly, without a dashboard and without reporting its use to anybody."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # As many threads in every worker as this process has: another number changes the last bits of a network's floats.
    threads = os.environ.get(THREADS) or str(os.cpu_count() or 1)
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {THREADS: threads}},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if "RAY_ADDRESS" not in os.environ:
        # Ray's own workers stand back behind everything else on the machine; this process does not either.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    ray.init(**options)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
