"""Flow-GRPO (arXiv 2505.05470): the clipped policy gradient over the stochastic steps of a flow.

Credit: every stochastic step of an edit gets the edit's advantage. Old log-probabilities are the rollout's.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import PolicyGradient, StoredStep
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss, grpo_loss


class FlowGRPO(PolicyGradient):
    """PPO's clipped surrogate of the plain importance ratio."""

    def step_loss(self, new: Step, old: StoredStep, advantage: Tensor, clip: float) -> GRPOLoss:
        """-A ratio, clipped, of each step."""
        return grpo_loss(new.log_prob, old.log_prob, advantage, clip=clip)
