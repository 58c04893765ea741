"""Training on the forward process: x0 of an edit mixed with fresh noise, x_t = (1 - t) x0 + t eps.

DiffusionNFT and DPO share it: no trajectory and no likelihood is needed. Which noise levels and which noise an edit
gets depends on (seed, iteration, group, member) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.rl.algorithms.protocol import Algorithm, UpdateContext
from hpedit.rl.losses.kl import velocity_kl
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch, row_chunks, velocity_of
from hpedit.seeds import generator

CHANGED = 0.05
"""Mean squared difference, as a share of the variance of the edit's latents, from which a token counts as changed."""
CHANGED_WEIGHT = 4.0


@dataclass(frozen=True, slots=True)
class NoiseDraw:
    """A chunk of the forward process: each item, an edit or a pair, at a few noise levels."""

    items: Tensor
    """(j,) long: place of the item among those that were asked for."""
    t: Tensor
    """(j,) noise levels, on the CPU."""
    noise: Tensor
    """(j, N, C) on the CPU."""


@dataclass(frozen=True, slots=True)
class NoisedLatents:
    """j edits of a batch, each at one noise level."""

    rows: Tensor
    """(j,) long: place in the batch."""
    x0: Tensor
    """(j, N, C) clean latents."""
    noise: Tensor
    """(j, N, C) eps."""
    t: Tensor
    """(j,) noise levels, on the CPU."""


def draw_noised(
    schedule: Tensor, levels: int, keys: Sequence[Sequence[int]], shape: Sequence[int], seed: int, iteration: int,
    *, chunk: int,
) -> Iterator[NoiseDraw]:  # fmt: skip
    """Draw noise levels and noise of all items, at most `chunk` terms at once.

    Args:
        schedule: (steps + 1,) noise levels of the sampler.
        levels: How many of them each item is trained at.
        keys: What names each item within the iteration.
        shape: (N, C) of an edit's latents.
        seed: The recipe's.
        iteration: Number of the iteration.
        chunk: Terms at once.
    """
    drawn = [
        (item, float(t), number)
        for item, key in enumerate(keys)
        for number, t in enumerate(_levels(schedule, levels, seed, iteration, *key))
    ]
    for part in row_chunks(torch.arange(len(drawn)), chunk):
        chosen = [drawn[place] for place in part.tolist()]
        noise = [
            torch.randn(tuple(shape), generator=generator(seed, "forward noise", iteration, *keys[item], number))
            for item, _, number in chosen
        ]
        items, t = ([term[column] for term in chosen] for column in (0, 1))
        yield NoiseDraw(torch.tensor(items), torch.tensor(t), torch.stack(noise))


def _levels(schedule: Tensor, count: int, seed: int, *purpose: str | int) -> Tensor:
    """(count,) different levels above 0 of a schedule (steps + 1,); all of them where `count` is not smaller."""
    above_zero = schedule[:-1]
    order = torch.randperm(len(above_zero), generator=generator(seed, "levels", *purpose))
    return above_zero[order[:count].sort().values]


def mix(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t (B, N, C) of x0 and eps (B, N, C) at the levels t (B,)."""
    return torch.lerp(x0, noise, t.to(x0)[:, None, None])


def accumulate_imitation(context: UpdateContext, batch: Batch, rows: Tensor, iteration: int) -> MetricSums:
    """Add the gradient of flow matching (arXiv 2210.02747) towards some edits of a batch, each at one noise level.

    The level is sigmoid(N(0, 1)), as in Stable Diffusion 3 (arXiv 2403.03206, Eq. 19). Where the edit's tokens lie on
    the source's, those in which it differs weigh CHANGED_WEIGHT times as much: what was asked for is learned from them
    alone, and they may be few.

    Args:
        context: Of the update.
        batch: n edits.
        rows: (j,) long, those that are imitated.
        iteration: Names the draws.
    """
    totals, seed = MetricSums(), context.recipe.seed
    for part in row_chunks(rows, batch.chunk):
        draws = [generator(seed, "imitation", iteration, *batch.keys[row]) for row in part.tolist()]
        x0, group = batch.x0[part.to(batch.x0.device)], batch.group[part]
        t = torch.sigmoid(torch.cat([torch.randn(1, generator=draw) for draw in draws]))
        noise = torch.stack([torch.randn(x0.shape[1:], generator=draw) for draw in draws]).to(x0)
        v = velocity_of(context.editor, batch.conditioning, mix(x0, noise, t), t, group, len(part))
        weight = _changed_weight(x0, batch.conditioning.source_latents[group.to(x0.device)].to(x0))
        loss = ((weight * (v - (noise - x0)).square()).mean((1, 2)) / weight.mean((1, 2))).sum()
        context.backward(loss)
        totals.add(len(part), len(part) * context.row_cost(references=0), {"loss": loss})
    return totals


def _changed_weight(x0: Tensor, source: Tensor) -> Tensor:
    """(j, N, 1) weights of the tokens of edits (j, N, C); ones where the source's (j, M, C) lie elsewhere.

    Each edit's depend on itself alone, so that the micro batch changes no gradient.
    """
    if source.shape != x0.shape:
        return torch.ones_like(x0[..., :1])
    changed = (x0 - source).square().mean(-1, keepdim=True) > CHANGED * x0.var((1, 2), keepdim=True)
    return torch.where(changed, CHANGED_WEIGHT, 1.0).to(x0)


class FlowMatching(Algorithm):
    """Learns velocities at noised edits of an old policy; a subclass gives the loss of an edit at a noise level."""

    stochastic = False

    def __init__(self, context: UpdateContext) -> None:
        super().__init__(context)
        self.state = context.policy.copy()
        """The old policy's weights; it starts as the current one."""

    def noised_loss(self, v: Tensor, v_old: Tensor, edits: NoisedLatents, advantage: Tensor) -> Tensor:
        """(j,) loss of each noised edit.

        Args:
            v: (j, N, C) velocity of the policy; carries the gradient.
            v_old: (j, N, C) of the old policy.
            edits: What they were computed for.
            advantage: (j,) on the CPU.
        """
        raise NotImplementedError

    def old_policy_decay(self, iteration: int) -> float:
        """Share of itself, in [0, 1], that the old policy keeps after an iteration."""
        raise NotImplementedError

    def behaviour(self) -> AbstractContextManager[None]:
        """The old policy makes the edits."""
        return self.context.policy.swapped(self.state)

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Add the gradient of the loss at a few noise levels of each active edit; KL to the base is of velocities."""
        context, totals, kl_weight = self.context, MetricSums(), self.context.recipe.train.kl
        chunks = self._chunks(batch, active, iteration)
        with torch.no_grad(), self.behaviour():  # the weights are swapped once for all chunks
            old = [self._velocity(batch, edits) for edits in chunks]
        for edits, v_old in zip(chunks, old, strict=True):
            v = self._velocity(batch, edits)
            loss, sums = self.noised_loss(v, v_old, edits, advantage[edits.rows]).sum(), {}
            if kl_weight:
                with torch.no_grad(), context.editor.lora_disabled():
                    v_ref = self._velocity(batch, edits)
                sums["kl"] = velocity_kl(v, v_ref).sum()
                loss = loss + kl_weight * sums["kl"]
            context.backward(loss)
            cost = batch.chunk * context.row_cost(references=1 + bool(kl_weight))
            totals.add(len(edits.rows), cost, {"loss": loss, **sums})
        return totals

    def _chunks(self, batch: Batch, active: Tensor, iteration: int) -> list[NoisedLatents]:
        recipe, edits, device = self.context.recipe, active.nonzero()[:, 0], batch.x0.device
        keys = [batch.keys[row] for row in edits.tolist()]
        drawn = draw_noised(
            batch.levels, recipe.nft.levels, keys, batch.x0.shape[1:], recipe.seed, iteration, chunk=batch.chunk
        )
        rows_of = [(edits[one.items], one) for one in drawn]
        return [NoisedLatents(rows, batch.x0[rows.to(device)], one.noise.to(device), one.t) for rows, one in rows_of]

    def _velocity(self, batch: Batch, edits: NoisedLatents) -> Tensor:
        """(j, N, C) under the weights as they are."""
        x, group = mix(edits.x0, edits.noise, edits.t), batch.group[edits.rows]
        return velocity_of(self.context.editor, batch.conditioning, x, edits.t, group, batch.chunk)

    def after_iteration(self, iteration: int) -> None:
        """Let the old policy follow: old = d old + (1 - d) current."""
        decay = self.old_policy_decay(iteration)
        with torch.no_grad():
            for name, parameter in self.context.policy.parameters.items():
                self.state[name].lerp_(parameter, 1 - decay)
