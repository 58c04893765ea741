"""A run's checkpoints: all that the next iteration depends on, and nothing else.

LoRA, its average, the optimizer, the algorithm's own tensors (the old policy of DiffusionNFT), the sampler's cursor,
the number of iterations done, and torch's RNG, which is restored last, for loading may draw from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from hpedit.config import CheckpointSection
from hpedit.errors import HPEditError
from hpedit.rl.policy import Policy
from hpedit.rl.sampler import CaseSampler
from hpedit.rl.seeds import derive_seed
from hpedit.store.checkpoint import Checkpoint, load_latest, save_checkpoint
from hpedit.store.run_folder import RunFolder


class Stateful(Protocol):
    """What learns, as far as a checkpoint is concerned."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Tensors beside LoRA and optimizer, restored in place."""
        ...


class Saves:
    """The checkpoints of one run."""

    def __init__(self, run: RunFolder, settings: CheckpointSection, seed: int) -> None:
        self.run, self.settings, self.seed = run, settings, seed
        self.folder = run.path / "checkpoints"

    def resume(self, policy: Policy, learner: Stateful, sampler: CaseSampler) -> int:
        """Iterations done, with everything set as it was then; a fresh run starts at 0.

        Raises:
            HPEditError: the checkpoint is of another model or algorithm.
        """
        for leftover in self.run.path.rglob(".tmp-*"):  # of a kill while a file was written; we hold the lock
            leftover.unlink()
        checkpoint = load_latest(self.folder)
        if checkpoint is None:
            torch.manual_seed(derive_seed(self.seed, "global"))
            return 0
        try:
            policy.restore(checkpoint.tensors)
            _restore(learner.state, checkpoint)
        except KeyError as error:
            raise HPEditError(
                f"{checkpoint.path} lacks {error}", hint="it is of another version: give this run a folder of its own"
            ) from error
        sampler.cursor = int(checkpoint.state["cursor"])
        self.run.log(f"continued from iteration {checkpoint.step}")
        torch.set_rng_state(checkpoint.tensors["rng"]["torch"])
        return checkpoint.step

    def save(self, done: int, policy: Policy, learner: Stateful, sampler: CaseSampler) -> None:
        """Write the checkpoint of `done` iterations."""
        tensors: dict[str, Mapping[str, Tensor]] = {**policy.tensors(), "rng": {"torch": torch.get_rng_state()}}
        if learner.state:
            tensors["algorithm"] = learner.state
        state: dict[str, Any] = {"iteration": done, "cursor": sampler.cursor}
        save_checkpoint(self.folder, done, tensors, state, keep=self.settings.keep)


@torch.no_grad()
def _restore(state: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    for name, tensor in state.items():
        tensor.copy_(checkpoint.tensors["algorithm"][name])
