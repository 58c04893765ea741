"""The policy being trained: LoRA weights, AdamW, their moving average (EMA), and one optimizer step.

Gradient accumulation: each chunk's `backward()` adds the gradient of a sum over terms; `finish_step` divides once by
the number of terms in all processes, clips and steps.

    policy.zero_grad()
    for chunk in ...:
        loss.backward()
        totals.add(...)
    metrics = finish_step(policy, totals, processes)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from hpedit.config.recipe import TrainSection
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.rl.metrics import MetricSums
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.processes import ProcessGroup

RATIO_TOLERANCE: Final = {torch.float32: 1e-6, torch.bfloat16: 2e-5, torch.float16: 2e-5}
"""Largest |importance ratio - 1| before the first update, by the model's dtype: rounding alone. A clip range of 1e-4
leaves no room for more."""
DEVIATION: Final = "ratio_deviation"
"""Metric: largest |importance ratio - 1|, of algorithms that have a ratio."""


class FaultyStepError(HPEditError):
    """An optimizer step that must not be taken: a non-finite loss or gradient, or a first importance ratio off 1."""


class LoraPolicy:
    """The trained weights of one run, with optimizer and average. All state is in `tensors`."""

    def __init__(self, editor: TrainableEditor, train: TrainSection) -> None:
        """`editor` carries the LoRA to be trained."""
        self.train = train
        self.parameters = editor.lora_parameters()
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=train.learning_rate, betas=train.betas, weight_decay=train.weight_decay
        )
        self.average = self.copy()

    def copy(self) -> dict[str, Tensor]:
        """A copy of the LoRA's weights by name."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def zero_grad(self) -> None:
        """Drop the accumulated gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, terms: int, loss: float, processes: ProcessGroup) -> float:
        """Take one optimizer step along the mean of the accumulated gradients.

        Args:
            terms: Number of terms, over all processes, that the gradients are sums of.
            loss: Their mean, for the error's text.
            processes: Whose gradients are summed.

        Returns:
            The gradient's norm before clipping.

        Raises:
            FaultyStepError: loss or gradient are not finite; the weights are unchanged.
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
        """Update the EMA of the weights."""
        # The first iterations decay faster, so that the untrained start is soon forgotten.
        decay = min(self.train.ema, (1 + iteration) / (10 + iteration))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Copy the EMA into the editor, for export."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average[name])

    @contextmanager
    def swapped(self, other: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the editor computes with the weights `other`, by name, and `other` holds the policy's."""
        self._swap(other)
        try:
            yield
        finally:
            self._swap(other)

    @torch.no_grad()
    def _swap(self, other: Mapping[str, Tensor]) -> None:
        for name, own in self.copy().items():
            self.parameters[name].copy_(other[name])
            other[name].copy_(own)

    def tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """All state, for a checkpoint: LoRA, average, optimizer."""
        optimizer = {
            f"{index}.{key}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }
        return {"lora": dict(self.parameters), "average": self.average, "optimizer": optimizer}

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load what `tensors` gave; HPEditError if that was of other parameters."""
        if saved["lora"].keys() != self.parameters.keys():
            raise HPEditError("the checkpoint holds a LoRA of another model", hint="use another output folder")
        for name, parameter in self.parameters.items():
            parameter.copy_(saved["lora"][name])
            self.average[name].copy_(saved["average"][name])
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in saved["optimizer"].items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)


def finish_step(
    policy: LoraPolicy,
    totals: MetricSums,
    processes: ProcessGroup,
    *,
    first_ratio_in: torch.dtype | None = None,
    clip: float = 1.0,
) -> dict[str, float | None]:
    """Take the optimizer step whose gradients have been accumulated; without a single term nothing is touched.

    Args:
        policy: Its gradients are sums over the terms of `totals`.
        totals: Of this process.
        processes: All processes.
        first_ratio_in: The model's dtype, at the first step after a rollout: then the importance ratio must be 1.
        clip: Half-width of the ratio's free range: rounding may take up half of it at most.

    Returns:
        Means over the terms, "loss" among them, and "grad_norm"; None where there was no term.

    Raises:
        FaultyStepError: a first ratio is off 1, or loss or gradient are not finite.
    """
    metrics: dict[str, float | None] = dict(totals.reduce(processes))
    if not totals.terms:
        return {"loss": None, "grad_norm": None}
    deviation, loss = metrics.get(DEVIATION), metrics["loss"]
    assert loss is not None
    if first_ratio_in is not None and deviation is not None:
        tolerance = min(RATIO_TOLERANCE[first_ratio_in], clip / 2)
        if not deviation <= tolerance:  # NaN is off too
            raise FaultyStepError(
                f"importance ratio differs from 1 by {deviation:.2g} before the first update "
                f"(tolerance {tolerance:.0e} in {first_ratio_in})",
                hint="the replay differs from the rollout: check for dropout, another precision, stateful layers",
            )
    metrics["grad_norm"] = policy.step(totals.terms, loss, processes)
    return metrics
