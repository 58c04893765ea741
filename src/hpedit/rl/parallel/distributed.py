"""Data-parallel training over torch.distributed: a `hpedit.rl.parallel.processes.ProcessGroup`.

`accelerate launch` or `torchrun` starts the processes and gives each its rank. Two channels:

- Plain data (rewards, metric sums) goes through the store that the launcher keeps. A process that waits there notices
  signals, and never hangs on one that has ended. It is JSON: anybody in the network can write to that store, and a
  pickle would let them run code.
- Tensors are summed by one flat all-reduce (NCCL between GPUs, gloo between CPUs), only right after all processes have
  met in the store.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.processes import ProcessGroup, SingleProcess
from hpedit.rl.parallel.watchdog import Watchdog, end_with_launcher

T = TypeVar("T")
FIRST_PAUSE: Final = 0.0005
LAST_PAUSE: Final = 0.05
"""Seconds between two polls of the store, at the beginning of a wait and later."""
PATIENCE: Final = 0.5
"""Seconds between two checks for processes that have left."""
MEETING: Final = timedelta(minutes=5)
"""For all processes to start and import their libraries."""
SAVING: Final = 120.0
"""Seconds for which the others wait, after a signal, for rank 0's checkpoint: the first to exit makes the launcher end
all."""


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """Rank of this process in its group, as the launcher says."""

    rank: int
    size: int
    local_rank: int

    @staticmethod
    def of_environment() -> ProcessRank:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; a single process without them."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size <= 1:
            return ProcessRank(0, 1, 0)
        try:
            return ProcessRank(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
        except KeyError as error:
            raise HPEditError(
                f"WORLD_SIZE is {size}, but {error} is not set", hint="start it by accelerate launch or torchrun"
            ) from error


class Distributed:
    """One of several data-parallel processes. All must call its methods in the same order."""

    def __init__(self, place: ProcessRank, device: torch.device, store: Any) -> None:
        """`store` is used by no other thread."""
        self.rank, self.size, self.device = place.rank, place.size, device
        self.serve: Callable[[Sequence[Mapping[str, Any]]], None] | None = None
        """What a waiting process does while others compute; see `hpedit.rl.parallel.sharding`."""
        self._store, self._round = store, 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """All-reduce (sum) in place, one a dtype."""
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            some = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1).to(self.device) for tensor in some])
            dist.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in some])
            for tensor, part in zip(some, parts, strict=True):
                tensor.copy_(part.view_as(tensor))
        stopping.progress("sum")

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank; tuples come back as lists, since it travels as JSON.

        Raises:
            StopAsked: one of the processes is to stop; it is raised in all of them, or in none.
        """
        while True:
            messages = self.exchange({"gather": value})
            if all("gather" in one for one in messages):
                return [one["gather"] for one in messages]
            assert self.serve is not None, "the processes do different things"
            self.serve(messages)

    def exchange(self, value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Everybody's `value`, by rank, as soon as the last one has come here."""
        stopping.check()
        keys = [f"{self._round}/{rank}" for rank in range(self.size)]
        self._store.set(keys[self.rank], json.dumps([stopping.stop_signal(), value]))
        self._await(keys)
        messages = [json.loads(raw) for raw in self._store.multi_get(keys)]
        if self._round:  # all processes here have read the previous round
            self._store.delete_key(f"{self._round - 1}/{self.rank}")
        self._round += 1
        stopping.progress("exchange")
        signals = [signum for signum, _ in messages if signum is not None]
        if signals and not stopping.committed():
            stopping.request_stop(signals[0])
            stopping.check()
        return [one for _, one in messages]

    def _await(self, keys: Sequence[str]) -> None:
        # Polls with growing pauses: the store's own wait writes a warning whenever its time is up.
        pause, looked = FIRST_PAUSE, time.monotonic()
        while not self._store.check(list(keys)):
            time.sleep(pause)
            pause = min(1.3 * pause, LAST_PAUSE)
            if time.monotonic() - looked > PATIENCE:
                looked = time.monotonic()
                stopping.waiting()
                self._check_left([rank for rank, key in enumerate(keys) if not self._store.check([key])])

    def _check_left(self, missing: Sequence[int]) -> None:
        """Stop too if a missing process has left: this round can never be complete."""
        if any(self._store.check([f"left/{rank}"]) for rank in missing):
            stopping.request_stop(int(self._store.get("stop")))
            stopping.check()

    def leave(self, stop: stopping.StopAsked) -> None:
        """Announce that this process stops; all others wait for rank 0, which saves the checkpoint."""
        self._store.set("stop", str(stop.signum))
        self._store.set(f"left/{self.rank}", "")
        end = time.monotonic() + SAVING
        while self.rank and not self._store.check(["left/0"]) and time.monotonic() < end:
            time.sleep(PATIENCE)


@contextmanager
def open_processes(recipe: Recipe, given: torch.device | None = None) -> Iterator[ProcessGroup]:
    """Join the process group that the launcher started, or be a single process.

    Args:
        recipe: Its device, scale and output folder.
        given: Device of an editor that is already there.

    Raises:
        HPEditError: launcher and recipe do not fit together. What the block raises is reported to all processes, and
            ends them.
    """
    place = ProcessRank.of_environment()
    if place.size == 1:
        yield SingleProcess()
        return
    device = _device(place, given.type if given else recipe.editor.device)
    end_with_launcher()
    ours = not dist.is_initialized()
    if ours:
        _join(place, device, timedelta(seconds=recipe.scale.stall_timeout + 60))
    default: Any = dist.distributed_c10d._get_default_store()
    store, another = (PrefixStore("hpedit", one) for one in (default, default.clone()))
    with Watchdog(place.rank, place.size, another, recipe.scale.stall_timeout, Path(recipe.output)) as watchdog:
        processes = Distributed(place, device, store)
        try:
            yield processes
        except stopping.StopAsked as stop:
            with suppress(dist.DistError):  # the store went with the launcher, which was stopped too
                processes.leave(stop)
            watchdog.part()
            raise
        except BaseException as error:
            watchdog.report(error)
            raise
        watchdog.part()
    if ours:
        dist.destroy_process_group()


def _join(place: ProcessRank, device: torch.device, timeout: timedelta) -> None:
    """Rendezvous with the other processes, with a shorter timeout than a sum has."""
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=MEETING)))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=timeout)
    except (dist.DistError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise HPEditError(
            f"rank {place.rank} can't reach the other processes at {where}: {error}",
            hint="check that all were started, and that that port of the first machine can be reached",
        ) from error


def _device(place: ProcessRank, wanted: str) -> torch.device:
    """The device of this process; CUDA's current device is set to it."""
    if wanted.startswith("cuda:"):
        raise HPEditError(
            f"editor.device is {wanted}, but there are {place.size} processes",
            hint="set it to cuda: each takes its own",
        )
    cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    if not cuda or os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true":
        return torch.device("cpu")
    if place.local_rank >= torch.cuda.device_count():
        raise HPEditError(
            f"process {place.local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}",
            hint="start as many processes as there are GPUs",
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)
