"""GRPO-Guard (arXiv 2510.22319): Flow-GRPO with a ratio centred at 1 and gradients balanced over noise levels.

It is defined for Flow-SDE steps, of which the rollout keeps the means.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from hpedit.rl.algorithms.policy_gradient import accumulate_steps, at
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss
from hpedit.rl.losses.grpo_guard import grpo_guard_loss
from hpedit.rl.rollout import Batch
from hpedit.rl.tally import Tally


class GRPOGuard:
    """See the module; `algorithms.protocol.Algorithm` says when what is called."""

    stochastic = True
    keep_mu = True

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
            clip=self.setting.recipe.train.clip,
        )
