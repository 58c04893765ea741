"""GRPO-Guard (arXiv 2510.22319): Flow-GRPO with a ratio centred at 1 and gradients balanced over noise levels.

It is defined for Flow-SDE steps, of which the rollout keeps the means.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import PolicyGradient, at
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss
from hpedit.rl.losses.grpo_guard import grpo_guard_loss
from hpedit.rl.rollout import Batch


class GRPOGuard(PolicyGradient):
    """See the module."""

    keep_means = True

    def step_loss(self, batch: Batch, rows: Tensor, slots: Tensor, step: Step, advantage: Tensor) -> GRPOLoss:
        """The clipped surrogate of the regulated ratio."""
        assert batch.mu is not None
        assert step.std is not None
        s, s_next = batch.level_pair(rows, slots)
        return grpo_guard_loss(
            step.log_prob,
            at(batch, batch.log_prob, rows, slots),
            step.mu,
            at(batch, batch.mu, rows, slots),
            step.std,
            (s_next - s).to(step.mu),
            advantage,
            clip=self.context.recipe.train.clip,
        )
