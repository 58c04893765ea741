"""Flow-GRPO (arXiv 2505.05470): the clipped policy gradient over the stochastic steps of a flow.

Old log-probabilities are those of the rollout and never computed again.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import PolicyGradient, at
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss, grpo_loss
from hpedit.rl.rollout import Batch


class FlowGRPO(PolicyGradient):
    """See the module."""

    def step_loss(self, batch: Batch, rows: Tensor, slots: Tensor, step: Step, advantage: Tensor) -> GRPOLoss:
        """The clipped surrogate."""
        old = at(batch, batch.log_prob, rows, slots)
        return grpo_loss(step.log_prob, old, advantage, clip=self.context.recipe.train.clip)
