"""What the training loop knows of an algorithm.

with algorithm.behaviour():                       # the policy that samples
    rollout = collect(..., stochastic=algorithm.stochastic, keep_means=algorithm.keep_means)
for batch in rollout.batches:
    totals.merge(algorithm.accumulate(batch, advantage, active, iteration))  # adds to the parameters' gradients
finish_step(policy, totals, processes)
algorithm.after_iteration(iteration)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor

from hpedit.config.recipe import Recipe
from hpedit.editors.protocol import TrainableEditor
from hpedit.rl.metrics import MetricSums
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rollout import Batch


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """What an algorithm works on."""

    recipe: Recipe
    editor: TrainableEditor
    policy: LoraPolicy
    recomputes: bool
    """Whether the backward pass computes activations again: it costs one more forward."""
    backward: Callable[[Tensor], None] = Tensor.backward
    """loss.backward(), or what does it in step with other processes."""


class Algorithm:
    """One way to turn scored edits into gradients. What most have in common is the default."""

    stochastic = True
    """Whether rollouts have a window of stochastic steps."""
    keep_means = False
    """Whether rollouts keep the means of these steps."""

    def __init__(self, context: UpdateContext) -> None:
        """Keeps no state beside the policy's."""
        self.context = context
        self.state: dict[str, Tensor] = {}
        """Tensors beside LoRA and optimizer that belong into a checkpoint; restored in place."""

    def behaviour(self) -> AbstractContextManager[None]:
        """Within it the editor is the policy that makes the edits."""
        return nullcontext()

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Add the gradient of the sum, not the mean, over active edits.

        Args:
            batch: n edits.
            advantage: (n,) on the CPU, 0 where an edit takes no part.
            active: (n,) bool, on the CPU: whether an edit takes part.
            iteration: Names the draws.
        """
        raise NotImplementedError

    def after_iteration(self, iteration: int) -> None:
        """Called after the last optimizer step of an iteration."""
