"""The Ray engine: a Ray Data pool of actors processes chunks on several processes or machines.

Every worker must see the build's folder and its sources under the same path (one machine, or a shared file system):
only chunk names and counts travel through Ray.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import ray
import ray.data

from hpedit.cases.engine.protocol import ChunkTask, Counts
from hpedit.cases.source_items import Chunk
from hpedit.errors import HPEditError

MAX_BLOCKS = 2000
"""A block is what Ray schedules and retries; each costs some milliseconds."""
STORE_BYTES = 100 * 2**20
"""Object store of a cluster that is started here: only counts go through it."""
THREADS = "OMP_NUM_THREADS"


class ChunkActor:
    """A Ray actor that opens a task once and processes its chunks."""

    def __init__(self, task: ChunkTask) -> None:
        """Load the task's models."""
        # A user error (no such model) must be reported as it is, not as a crash of the pool.
        self._error: HPEditError | None = None
        try:
            self._work = task.open()
        except HPEditError as error:
            self._error = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Process these chunks; for each the counts or the error as JSON."""
        return {"report": [json.dumps(self._report(_unpacked(str(text)))) for text in batch["chunk"]]}

    def _report(self, chunk: int | Chunk) -> dict[str, Any]:
        try:
            if self._error is not None:
                raise self._error
            return {"counts": dict(self._work(chunk))}
        except HPEditError as error:
            return {"error": error.message, "hint": error.hint}


class RayEngine:
    """Runs on the Ray cluster of RAY_ADDRESS, else on one that it starts on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        """Connect to or start the cluster; `workers` None = one for each CPU."""
        if not ray.is_initialized():
            _start(workers)
        self.workers = workers or max(1, _resource("CPU"))

    def map(self, task: ChunkTask, chunks: Sequence[Any]) -> Iterator[Counts]:
        """Yield the counts of each chunk as they finish; another worker retries the chunk of one that died."""
        if not chunks:
            return
        ray.data.DataContext.get_current().enable_progress_bars = False
        gpus = _resource("GPU") if task.models else 0
        wanted = min(self.workers, len(chunks), gpus or self.workers)
        # In the rows, not the actor's arguments: a restarted actor would lose those.
        rows = [{"chunk": json.dumps(chunk if isinstance(chunk, int) else astuple(chunk))} for chunk in chunks]
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


def _unpacked(text: str) -> int | Chunk:
    """The chunk of a JSON text."""
    found = json.loads(text)
    return found if isinstance(found, int) else Chunk(found[0], found[1], tuple(found[2]))


def _resource(name: str) -> int:
    """Number of CPUs or GPUs in the cluster."""
    found: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(found.get(name, 0))


def _start(workers: int | None) -> None:
    """Start or join a cluster, quietly, without dashboard and usage statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # As many threads in every worker as here: another number changes the last bits of a network's floats.
    threads = os.environ.get(THREADS) or str(os.cpu_count() or 1)
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {THREADS: threads}},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if "RAY_ADDRESS" not in os.environ:
        # Ray lowers its workers' priority by default; this process has normal priority too.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    ray.init(**options)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
