"""Policy gradient by replay: score stored stochastic steps again, take importance ratios, add up gradients.

All stochastic steps of a batch, whichever their place in the window, share forwards of the rollout's shape. The KL's
reference is the editor with its LoRA switched off; at weight 0 no reference is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.rl.algorithms.protocol import Algorithm
from hpedit.rl.flow_sde import Step
from hpedit.rl.losses.grpo import GRPOLoss
from hpedit.rl.losses.kl import kl_to_base
from hpedit.rl.metrics import MetricSums
from hpedit.rl.policy import DEVIATION
from hpedit.rl.rollout import Batch, replay, row_chunks


@dataclass(frozen=True, slots=True)
class StoredStep:
    """j stochastic steps as the rollout took them."""

    log_prob: Tensor
    """(j,)"""
    mu: Tensor | None
    """(j, N, C) means, where the algorithm keeps them."""
    dt: Tensor
    """(j,) s' - s, negative, on the CPU."""


class PolicyGradient(Algorithm):
    """Replays stochastic steps of the policy itself; a subclass gives the loss of a step."""

    def step_loss(self, new: Step, old: StoredStep, advantage: Tensor, clip: float) -> GRPOLoss:
        """Loss of each of j replayed steps.

        Args:
            new: The steps under the policy as it is now; carries the gradient.
            old: The same steps under the policy that sampled them.
            advantage: (j,)
            clip: Half-width of the importance ratio's free range.
        """
        raise NotImplementedError

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:  # noqa: ARG002
        """Replay the stochastic steps of active edits and add the gradient of their summed loss."""
        context, totals, train = self.context, MetricSums(), self.context.recipe.train
        for rows, slots in _chunks(batch, active):
            new = replay(context.editor, batch, context.recipe.rollout, rows, slots)
            old = _stored(batch, rows, slots)
            terms = self.step_loss(new, old, advantage[rows].to(new.log_prob), train.clip)
            loss = terms.loss.sum()
            sums = {"ratio_mean": terms.ratio.sum(), "clip_fraction": terms.clipped.sum()}
            if train.kl:
                kl = self._kl(batch, rows, slots, new.mu, old.dt).sum()
                loss, sums["kl"] = loss + train.kl * kl, kl
            context.backward(loss)
            cost = batch.chunk * context.row_cost(references=bool(train.kl))
            totals.add(len(rows), cost, {"loss": loss, **sums}, {DEVIATION: (terms.ratio - 1).abs().max()})
        return totals

    def _kl(self, batch: Batch, rows: Tensor, slots: Tensor, mu: Tensor, dt: Tensor) -> Tensor:
        """(j,) KL to the editor with its LoRA switched off."""
        with torch.no_grad(), self.context.editor.lora_disabled():
            reference = replay(self.context.editor, batch, self.context.recipe.rollout, rows, slots)
        assert reference.std is not None
        return kl_to_base(mu, reference.mu, reference.std, dt)


def _stored(batch: Batch, rows: Tensor, slots: Tensor) -> StoredStep:
    device, (s, s_next) = batch.trajectory.device, batch.level_pair(rows, slots)
    place = rows.to(device), slots.to(device)
    return StoredStep(batch.log_prob[place], None if batch.mu is None else batch.mu[place], s_next - s)


def _chunks(batch: Batch, active: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, slots) of all steps of active edits, in forwards of the rollout's shape."""
    chosen, window = active.nonzero()[:, 0], batch.log_prob.shape[1]
    rows, slots = chosen.repeat(window), torch.arange(window).repeat_interleave(len(chosen))
    return ((rows[part], slots[part]) for part in row_chunks(torch.arange(len(rows)), batch.chunk))
