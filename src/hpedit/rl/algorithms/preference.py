"""One step of Diffusion-DPO (arXiv 2311.12908) on pairs of latents, which online and offline DPO share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.editors.protocol import Conditioning
from hpedit.rl.algorithms.noised import mix
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.cost import FORWARD, trained_row_cost
from hpedit.rl.losses.dpo import dpo_loss
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import velocity_of


@dataclass(frozen=True, slots=True)
class Pairs:
    """P preferences at one noise level each, winner and loser under the same noise."""

    conditioning: Conditioning
    """Rows for `group`."""
    group: Tensor
    """(P,) long."""
    winner: Tensor
    """(P, N, C) clean latents of the better edit."""
    loser: Tensor
    """(P, N, C) of the worse one."""
    noise: Tensor
    """(P, N, C)."""
    t: Tensor
    """(P,) noise levels, on the CPU."""
    weight: Tensor
    """(P,) of each pair's loss."""


def accumulate_pairs(context: UpdateContext, pairs: Pairs) -> MetricSums:
    """Add the gradient of the summed loss; winners and losers go through the model in one forward."""
    editor, count = context.editor, len(pairs.group)
    t, group = pairs.t.repeat(2), pairs.group.repeat(2)
    noise = torch.cat([pairs.noise, pairs.noise])
    clean = torch.cat([pairs.winner, pairs.loser])
    inputs = (editor, pairs.conditioning, mix(clean, noise, t), t, group, 2 * count)
    with torch.no_grad(), editor.lora_disabled():
        reference = velocity_of(*inputs)
    v, target = velocity_of(*inputs), noise - clean
    found = dpo_loss(
        v[:count], v[count:], reference[:count], reference[count:], target[:count], target[count:],
        beta=context.recipe.dpo.beta,
    )  # fmt: skip
    loss = (found.loss * pairs.weight.to(found.loss)).sum()
    context.backward(loss)
    totals = MetricSums()
    right = (found.margin > 0).sum()
    totals.add(
        count,
        2 * count * (FORWARD + trained_row_cost(context.recomputes)),
        {
            "loss": loss,
            "margin": found.margin.sum(),
            "winner_change": found.winner_change.sum(),
            "pair_accuracy": right,
        },
    )
    return totals
