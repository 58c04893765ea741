"""What is trained: the LoRA's weights, their optimizer and their average.

policy.zero_grad()
loss.backward()                         # as often as there are chunks; gradients are sums over terms
grad_norm = policy.step(terms, processes)   # of all processes: sum, divide by the number of terms, clip, move
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from hpedit.config.recipe import TrainSection
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.rl.nonfinite import FaultyStepError
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.processes import ProcessGroup


class LoraPolicy:
    """The trained weights of one run. All state is in `tensors`."""

    def __init__(self, editor: TrainableEditor, train: TrainSection) -> None:
        """`editor` carries the LoRA to be trained."""
        self.train = train
        self.parameters = editor.lora_parameters()
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=train.learning_rate, betas=train.betas, weight_decay=train.weight_decay
        )
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def zero_grad(self) -> None:
        """Forget gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, terms: int, loss: float, processes: ProcessGroup) -> float:
        """Take one optimizer step along the mean gradient.

        Args:
            terms: Number of terms, over all processes, that the gradients are sums of.
            loss: Their mean, for the error's text.
            processes: Whose gradients are summed.

        Returns:
            The gradient's norm before clipping.

        Raises:
            FaultyStepError: loss or gradient are not finite; the weights are as they were.
        """
        # All processes have just met: from here on none of them abandons the iteration.
        stopping.commit()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters.values()]
        if processes.size > 1:
            processes.sum_(gradients)
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
            parameter.grad = gradient.div_(terms)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.train.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise FaultyStepError(
                f"the loss ({loss}) or its gradient's norm ({norm}) is not finite",
                hint="lower train.learning_rate or rollout.noise; the checkpoints are from before it happened",
            )
        self.optimizer.step()
        return norm

    @torch.no_grad()
    def update_average(self, iteration: int) -> None:
        """Move the average toward the weights; its first iterations count less, so that the start is forgotten soon."""
        decay = min(self.train.ema, (1 + iteration) / (10 + iteration))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """From here on the editor is what is exported."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average[name])

    @contextmanager
    def swapped(self, other: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the editor computes with the weights `other`, named alike, and `other` holds the policy's."""
        self._swap(other)
        try:
            yield
        finally:
            self._swap(other)

    @torch.no_grad()
    def _swap(self, other: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            mine = parameter.detach().clone()
            parameter.copy_(other[name])
            other[name].copy_(mine)

    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """All state, for a checkpoint."""
        optimizer = {
            f"{index}.{key}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }
        return {"lora": dict(self.parameters), "average": self.average, "optimizer": optimizer}

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Be what `tensors` gave; HPEditError if that was of other parameters."""
        if saved["lora"].keys() != self.parameters.keys():
            raise HPEditError("the checkpoint holds a LoRA of another model", hint="give this run a folder of its own")
        for name, parameter in self.parameters.items():
            parameter.copy_(saved["lora"][name])
            self.average[name].copy_(saved["average"][name])
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in saved["optimizer"].items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
