"""What Flow-GRPO and GRPO-Guard share: replay stored steps, weigh them by advantage, add up gradients.

All stochastic steps of a batch, whichever their place in the window, share forwards of the rollout's shape. The KL's
reference is the editor with its LoRA switched off; at weight 0 no reference is run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hpedit.rl.algorithms.protocol import Algorithm, UpdateContext
from hpedit.rl.cost import FORWARD, trained_row_cost
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss
from hpedit.rl.losses.kl import kl_to_base
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch, replay, row_chunks
from hpedit.rl.update import DEVIATION


class PolicyGradient(Algorithm):
    """Replays stochastic steps of the policy itself; a subclass says what the loss of a step is."""

    def step_loss(self, batch: Batch, rows: Tensor, slots: Tensor, step: Step, advantage: Tensor) -> GRPOLoss:
        """Loss of each replayed step.

        Args:
            batch: Edits of the rollout.
            rows: (j,) on the CPU, edit of each step.
            slots: (j,) on the CPU, its place in the window.
            step: The step under the policy as it is now.
            advantage: (j,)
        """
        raise NotImplementedError

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:  # noqa: ARG002
        """Replay the stochastic steps of active edits and add the gradient of their summed loss."""
        context, totals, kl_weight = self.context, MetricSums(), self.context.recipe.train.kl
        for rows, slots in _chunks(batch, active):
            step = replay(context.editor, batch, context.recipe.rollout, rows, slots)
            terms = self.step_loss(batch, rows, slots, step, advantage[rows].to(step.log_prob))
            loss = terms.loss.sum()
            sums = {"ratio_mean": terms.ratio.sum(), "clip_fraction": terms.clipped.sum()}
            if kl_weight:
                kl = _kl(context, batch, rows, slots, step.mu)
                loss = loss + kl_weight * kl.sum()
                sums["kl"] = kl.sum()
            context.backward(loss)
            cost = trained_row_cost(context.recomputes) + (FORWARD if kl_weight else 0)
            totals.add(
                len(rows), batch.chunk * cost, {"loss": loss, **sums}, {DEVIATION: (terms.ratio - 1).abs().max()}
            )
        return totals


def at(batch: Batch, stored: Tensor, rows: Tensor, slots: Tensor) -> Tensor:
    """(j, ...): what a (n, w, ...) tensor of the rollout has for the steps."""
    device = batch.trajectory.device
    return stored[rows.to(device), slots.to(device)]


def _chunks(batch: Batch, active: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, slots) of all steps of active edits, in forwards of the rollout's shape."""
    chosen, window = active.nonzero()[:, 0], batch.log_prob.shape[1]
    rows, slots = chosen.repeat(window), torch.arange(window).repeat_interleave(len(chosen))
    return ((rows[part], slots[part]) for part in row_chunks(torch.arange(len(rows)), batch.chunk))


def _kl(context: UpdateContext, batch: Batch, rows: Tensor, slots: Tensor, mu: Tensor) -> Tensor:
    """(j,) KL to the editor with its LoRA switched off."""
    with torch.no_grad(), context.editor.lora_disabled():
        reference = replay(context.editor, batch, context.recipe.rollout, rows, slots)
    assert reference.std is not None
    s, s_next = batch.level_pair(rows, slots)
    return kl_to_base(mu, reference.mu, reference.std, s_next - s)
