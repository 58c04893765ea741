"""Diffusion-DPO (arXiv 2311.12908) on preference pairs of latents, which online and offline DPO share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.editors.protocol import Conditioning
from hpedit.rl.algorithms.flow_matching import NoiseDraw, draw_noised, mix
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.losses.dpo import dpo_loss
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import velocity_of


@dataclass(frozen=True, slots=True)
class PreferencePairs:
    """P preferences between two edits of one case each."""

    conditioning: Conditioning
    """Rows for `group`."""
    group: Tensor
    """(P,) long."""
    keys: Sequence[Sequence[int]]
    """(P) what names each pair within the iteration: it fixes its draws."""
    winner: Tensor
    """(P, N, C) clean latents of the better edit."""
    loser: Tensor
    """(P, N, C) of the worse one."""
    weight: Tensor
    """(P,) of each pair's loss."""


def accumulate_pairs(
    context: UpdateContext, pairs: PreferencePairs, schedule: Tensor, iteration: int, *, rows: int
) -> MetricSums:
    """Add the gradient of the summed DPO loss of all pairs, each at a few noise levels.

    Args:
        context: The reference is its editor with the LoRA switched off.
        pairs: Winner and loser get the same noise and go through the model in one forward.
        schedule: (steps + 1,) noise levels of the sampler.
        iteration: Names the draws.
        rows: Edits in one forward.
    """
    recipe, totals, shape = context.recipe, MetricSums(), pairs.winner.shape[1:]
    chunk = max(1, rows // 2)
    for drawn in draw_noised(schedule, recipe.dpo.levels, pairs.keys, shape, recipe.seed, iteration, chunk=chunk):
        _accumulate_chunk(context, pairs, drawn, totals)
    return totals


def _accumulate_chunk(context: UpdateContext, pairs: PreferencePairs, drawn: NoiseDraw, totals: MetricSums) -> None:
    editor, count, device = context.editor, len(drawn.items), pairs.winner.device
    place, noise = drawn.items.to(device), drawn.noise.to(device).repeat(2, 1, 1)
    t, group = drawn.t.repeat(2), pairs.group[drawn.items].repeat(2)
    x0 = torch.cat([pairs.winner[place], pairs.loser[place]])
    inputs = (editor, pairs.conditioning, mix(x0, noise, t), t, group, 2 * count)
    with torch.no_grad(), editor.lora_disabled():
        reference = velocity_of(*inputs)
    v, target = velocity_of(*inputs), noise - x0
    found = dpo_loss(
        v[:count], v[count:], reference[:count], reference[count:], target[:count], target[count:],
        beta=context.recipe.dpo.beta,
    )  # fmt: skip
    loss = (found.loss * pairs.weight[drawn.items].to(found.loss)).sum()
    context.backward(loss)
    sums = {"margin": found.margin.sum(), "winner_change": found.winner_change.sum()}
    right = (found.margin > 0).sum()
    totals.add(count, 2 * count * context.row_cost(references=1), {"loss": loss, **sums, "pair_accuracy": right})
