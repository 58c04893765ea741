"""Checkpoints of a run: everything that the next iteration depends on, and nothing else.

LoRA, its average, the optimizer, the algorithm's own tensors (the old policy of DiffusionNFT), the sampler's cursor,
the number of iterations done, and the global random generators, which are restored last, since loading may draw from
them. Rank 0 alone touches the disk and broadcasts what it read. Sharding and the number of processes are not part of
the state: a run may be resumed with another number of them, which is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from hpedit.config.recipe import CheckpointSection
from hpedit.errors import HPEditError
from hpedit.rl.monitor.evaluations import EVALUATIONS, FOLDER
from hpedit.rl.parallel.processes import ProcessGroup, broadcast
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rng import restore_rng, rng_tensors, seed_all
from hpedit.rl.sampler import CaseSampler
from hpedit.seeds import derive_seed
from hpedit.store.atomic import read_jsonl
from hpedit.store.checkpoint import Checkpoint, list_checkpoints, load_latest, save_checkpoint
from hpedit.store.run_folder import METRICS, RunFolder

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A learner, as far as a checkpoint is concerned."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Tensors beside LoRA and optimizer, restored in place."""


class RunCheckpoints:
    """The checkpoints of one run."""

    def __init__(self, run: RunFolder | None, settings: CheckpointSection, seed: int, processes: ProcessGroup) -> None:
        """`run` is None in all processes but rank 0."""
        self.run, self.settings, self.seed, self.processes = run, settings, seed, processes
        self.latest = 0
        """Iterations done at the newest checkpoint."""

    def resume(self, policy: LoraPolicy, learner: Stateful, sampler: CaseSampler, *, required: bool = False) -> int:
        """Restore the newest checkpoint and return its number of iterations; 0 for a fresh run.

        Raises:
            HPEditError: the checkpoint is of another model or algorithm; all are damaged; there is none, but one is
                `required`.
        """
        found = self._newest(required) if self.run else None
        about: Any = self.processes.gather({"step": found.step, "state": found.state} if found else None)[0]
        if about is None:
            seed_all(derive_seed(self.seed, "global", *([self.processes.rank] if self.processes.rank else [])))
            return 0
        tensors = broadcast(self.processes, found.tensors if found else None)
        try:
            policy.restore(tensors)
            _restore(learner.state, tensors)
            sampler.cursor, rng = int(about["state"]["cursor"]), tensors["rng"]
        except KeyError as error:
            raise HPEditError(
                f"the checkpoint lacks {error}", hint="it is of another version: use another output folder"
            ) from error
        step = int(about["step"])
        self._say_what_differs(about["state"].get("made_with", {}), step)
        self._say_what_vanished(about["state"].get("records", {}), step)
        self.latest = step
        if self.processes.rank == 0:
            restore_rng(rng)
        else:
            seed_all(derive_seed(self.seed, "global", self.processes.rank, step))
        return step

    def save(self, done: int, policy: LoraPolicy, learner: Stateful, sampler: CaseSampler) -> None:
        """Write the checkpoint of `done` iterations, in rank 0, unless it exists.

        Raises:
            HPEditError: it can't be written; older checkpoints are unchanged.
        """
        if self.run is None or done == self.latest:
            return
        tensors: dict[str, Mapping[str, Tensor]] = {**policy.tensors(), "rng": rng_tensors()}
        if learner.state:
            tensors["algorithm"] = learner.state
        state = {"iteration": done, "cursor": sampler.cursor, "made_with": _made_with(self.processes)}
        state["records"] = self._records(done)
        folder = self.run.path / "checkpoints"
        try:
            save_checkpoint(folder, done, tensors, state, keep=self.settings.keep)
        except (OSError, SafetensorError) as error:
            kept = f"iteration {self.latest} is kept" if self.latest else "there is none from before"
            raise HPEditError(
                f"the checkpoint of iteration {done} can't be written to {folder}: {error}",
                hint=f"{kept}; make room on the disk, and the same command continues",
            ) from error
        self.latest = done

    def _newest(self, required: bool) -> Checkpoint | None:
        assert self.run is not None
        for leftover in self.run.path.rglob(".tmp-*"):  # of a kill while a file was written; we hold the lock
            leftover.unlink()
        folder = self.run.path / "checkpoints"
        found = load_latest(folder)
        if found is None and list_checkpoints(folder):
            raise HPEditError(
                f"{folder}: none of its checkpoints is whole", hint="remove that folder to start the run again"
            )
        if found is None and required:
            raise HPEditError(f"{folder} holds nothing to continue", hint="leave out --resume to start a new run")
        return found

    def _say_what_differs(self, before: Mapping[str, Any], step: int) -> None:
        """Log and warn of what changed: a run is reproduced bit for bit only on the same setup."""
        if self.run is None:
            return
        self.run.log(f"continued from iteration {step}")
        now = _made_with(self.processes)
        changed = [
            f"{name} was {before[name]}, is {now[name]}" for name in now if before.get(name, now[name]) != now[name]
        ]
        if changed:
            text = f"continued with {'; '.join(changed)}: the same run up to rounding, not bit for bit"
            self.run.log(text)
            logger.warning("%s", text)

    def _records(self, step: int) -> dict[str, int]:
        """Number of records up to `step` in each file that a resumed run continues."""
        assert self.run is not None
        counts = {}
        for name in (METRICS, f"{FOLDER}/{EVALUATIONS}"):
            records = read_jsonl(self.run.path / name)
            counts[name] = sum(record.get("step", record.get("iteration", 0)) <= step for record in records)
        return counts

    def _say_what_vanished(self, before: Mapping[str, int], step: int) -> None:
        """Log and warn if a file has fewer records than when the checkpoint was written: it was emptied or lost."""
        if self.run is None:
            return
        now = self._records(step)
        for name, count in before.items():
            if now.get(name, 0) < count:
                text = (
                    f"{self.run.path / name} has {now.get(name, 0)} of the {count} records that the checkpoint counted"
                )
                self.run.log(text)
                logger.warning("%s", text)


def _made_with(processes: ProcessGroup) -> dict[str, Any]:
    """The setup that the last bits of a run depend on beside its recipe."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = {} if torch.cuda.is_available() else {"threads": torch.get_num_threads()}
    return {"processes": processes.size, "torch": torch.__version__, "device": gpu, **threads}


@torch.no_grad()
def _restore(state: Mapping[str, Tensor], saved: Mapping[str, Mapping[str, Tensor]]) -> None:
    for name, tensor in state.items():
        tensor.copy_(saved["algorithm"][name])
