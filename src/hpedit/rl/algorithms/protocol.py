"""The interface of an algorithm: how a batch of scored edits becomes gradients.

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
from hpedit.rl.cost import FORWARD, TRAINED_ROW
from hpedit.rl.metrics import MetricSums
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rollout import Batch


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """What an update works on: editor, policy and settings of the run."""

    recipe: Recipe
    editor: TrainableEditor
    policy: LoraPolicy
    recomputes: bool
    """Whether the backward pass recomputes activations (gradient checkpointing): one more forward."""
    backward: Callable[[Tensor], None] = Tensor.backward
    """loss.backward(), or what does it in step with other processes."""

    @property
    def passes(self) -> int:
        """Forwards of the network for one velocity: guidance takes another, of the negative prompt."""
        return 1 if self.recipe.rollout.cfg == 1.0 else 2

    def row_cost(self, references: int) -> int:
        """Cost of training on one row, with so many forwards of reference policies."""
        return TRAINED_ROW[self.recomputes] + references * FORWARD


class Algorithm:
    """Turns scored edits into gradients. What most algorithms have in common is the default."""

    stochastic = True
    """Whether rollouts have a window of stochastic steps; False samples by ODE."""
    keep_means = False
    """Whether rollouts keep the means of the stochastic steps."""

    def __init__(self, context: UpdateContext) -> None:
        self.context = context
        self.state: dict[str, Tensor] = {}
        """Tensors beside LoRA and optimizer that belong into a checkpoint; restored in place."""

    def behaviour(self) -> AbstractContextManager[None]:
        """The behaviour policy: within it the editor is the policy that makes the edits."""
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
