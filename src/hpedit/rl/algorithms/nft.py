"""DiffusionNFT (arXiv 2509.16117): supervised flow matching toward good edits and away from bad ones.

Edits are made by plain ODE steps with the old policy, which follows the current one slowly; no likelihood is needed.
The loss contrasts an implicit good and bad branch around the old policy's velocity, weighted by r in [0, 1] from the
advantage. The KL to the base (`train.kl`) is that of velocities.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from hpedit.rl.algorithms.noised import draw_terms, mix
from hpedit.rl.algorithms.protocol import Algorithm, UpdateContext
from hpedit.rl.cost import FORWARD, trained_row_cost
from hpedit.rl.losses.kl import velocity_kl
from hpedit.rl.losses.nft import nft_loss, nft_reward
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch, velocity_of

Chunk = tuple[Tensor, Tensor, Tensor]
"""(rows (j,), levels (j,), noise (j, N, C))."""


class NFT(Algorithm):
    """See the module."""

    stochastic = False

    def __init__(self, context: UpdateContext) -> None:
        """The old policy starts as the current one."""
        super().__init__(context)
        self.state = {name: p.detach().clone() for name, p in context.policy.parameters.items()}
        """The old policy's weights."""

    def behaviour(self) -> AbstractContextManager[None]:
        """The old policy makes the edits."""
        return self.context.policy.swapped(self.state)

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Contrast the branches at a few noise levels of each active edit."""
        context, totals = self.context, MetricSums()
        recipe, editor = context.recipe, context.editor
        device = batch.x0.device
        edits = active.nonzero()[:, 0]
        drawn = draw_terms(
            batch.levels, recipe.nft.levels, [batch.keys[row] for row in edits.tolist()], batch.x0.shape[1:],
            recipe.seed, iteration, chunk=batch.chunk,
        )  # fmt: skip
        chunks = [(edits[terms.items], terms.t, terms.noise) for terms in drawn]
        old = self._old_velocities(batch, chunks)
        for (rows, t, noise), v_old in zip(chunks, old, strict=True):
            clean, eps = batch.x0[rows.to(device)], noise.to(device)
            inputs = (editor, batch.conditioning, mix(clean, eps, t), t, batch.group[rows], batch.chunk)
            v = velocity_of(*inputs)
            found = nft_loss(
                v, v_old, clean, eps, t.to(v), nft_reward(advantage[rows].to(v), recipe.nft.advantage_clip),
                beta=recipe.nft.beta, advantage_clip=recipe.nft.advantage_clip,
            )  # fmt: skip
            loss, sums = found.loss.sum(), {}
            if recipe.train.kl:
                with torch.no_grad(), editor.lora_disabled():
                    v_ref = velocity_of(*inputs)
                kl = velocity_kl(v, v_ref).sum()
                loss, sums["kl"] = loss + recipe.train.kl * kl, kl
            context.backward(loss)
            cost = FORWARD + trained_row_cost(context.recomputes) + (FORWARD if recipe.train.kl else 0)
            totals.add(len(rows), batch.chunk * cost, {"loss": loss, **sums})
        return totals

    @torch.no_grad()
    def _old_velocities(self, batch: Batch, chunks: Sequence[Chunk]) -> list[Tensor]:
        """(j, N, C) of each chunk; weights are exchanged once for all of them."""
        device, found = batch.x0.device, []
        with self.context.policy.swapped(self.state):
            for rows, t, noise in chunks:
                x = mix(batch.x0[rows.to(device)], noise.to(device), t)
                found.append(velocity_of(self.context.editor, batch.conditioning, x, t, batch.group[rows], batch.chunk))
        return found

    def after_iteration(self, iteration: int) -> None:
        """Let the old policy follow: old = d old + (1 - d) current, d = min(rate iteration, limit)."""
        nft = self.context.recipe.nft
        decay = min(nft.old_decay_rate * (iteration + 1), nft.old_decay)
        with torch.no_grad():
            for name, parameter in self.context.policy.parameters.items():
                self.state[name].lerp_(parameter, 1 - decay)
