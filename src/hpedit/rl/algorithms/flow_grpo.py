"""Flow-GRPO (arXiv 2505.05470): the clipped policy gradient over the stochastic steps of a flow.

Old log-probabilities are those of the rollout and never computed again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import accumulate_steps, at
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss, grpo_loss
from hpedit.rl.rollout import Batch
from hpedit.rl.tally import Tally


class FlowGRPO:
    """See the module; `algorithms.protocol.Algorithm` says when what is called."""

    stochastic = True
    keep_mu = False

    def __init__(self, setting: Setting) -> None:
        """Keeps no state beside the policy's."""
        self.setting = setting
        self.state: dict[str, Tensor] = {}

    def behaviour(self) -> AbstractContextManager[None]:
        """The policy itself makes the edits."""
        return nullcontext()

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> Tally:  # noqa: ARG002
        """Replay the stochastic steps of active edits."""
        return accumulate_steps(self.setting, batch, advantage, active, self._loss)

    def after_iteration(self, iteration: int) -> None:
        """Nothing is left to do."""

    def _loss(self, batch: Batch, rows: Tensor, slots: Tensor, step: Step, advantage: Tensor) -> GRPOLoss:
        old = at(batch, batch.log_prob, rows, slots)
        return grpo_loss(step.log_prob, old, advantage, clip=self.setting.recipe.train.clip)
