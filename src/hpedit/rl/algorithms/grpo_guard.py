"""GRPO-Guard (arXiv 2510.22319): Flow-GRPO with a ratio centred at 1 and gradients balanced over noise levels.

Credit as in Flow-GRPO. It is defined for Flow-SDE steps, whose means the rollout keeps.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import PolicyGradient, StoredStep
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss
from hpedit.rl.losses.grpo_guard import grpo_guard_loss


class GRPOGuard(PolicyGradient):
    """The clipped surrogate of the regulated ratio."""

    keep_means = True

    def step_loss(self, new: Step, old: StoredStep, advantage: Tensor, clip: float) -> GRPOLoss:
        """-A (centred ratio) / -dt, clipped, of each step."""
        assert old.mu is not None
        assert new.std is not None
        dt = old.dt.to(new.mu)
        return grpo_guard_loss(new.log_prob, old.log_prob, new.mu, old.mu, new.std, dt, advantage, clip=clip)
