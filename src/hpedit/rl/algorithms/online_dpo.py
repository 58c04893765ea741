"""Online DPO: the best edits of a group against its worst, by Diffusion-DPO (arXiv 2311.12908).

Edits are made by plain ODE steps with the policy as it is; the reference is the editor with its LoRA switched off.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpedit.rl.algorithms.noised import draw_terms
from hpedit.rl.algorithms.preference import Pairs, accumulate_pairs
from hpedit.rl.algorithms.protocol import Algorithm
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch


class OnlineDPO(Algorithm):
    """See the module."""

    stochastic = False

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Pair the edits of each group and add the gradient of all pairs at a few noise levels."""
        recipe, totals, device = self.context.recipe, MetricSums(), batch.x0.device
        pairs = _pairs(advantage.numpy(), active.numpy(), batch.group.numpy(), recipe.dpo.pairs_per_group)
        winners, losers = (torch.tensor([pair[side] for pair in pairs], dtype=torch.long) for side in (0, 1))
        keys = [batch.keys[winner] for winner, _ in pairs]
        shape, chunk = batch.x0.shape[1:], max(1, batch.chunk // 2)
        for terms in draw_terms(batch.levels, recipe.dpo.levels, keys, shape, recipe.seed, iteration, chunk=chunk):
            better, worse = winners[terms.items], losers[terms.items]
            chosen = Pairs(
                conditioning=batch.conditioning,
                group=batch.group[better],
                winner=batch.x0[better.to(device)],
                loser=batch.x0[worse.to(device)],
                noise=terms.noise.to(device),
                t=terms.t,
                weight=torch.ones(len(better)),
            )
            totals.merge(accumulate_pairs(self.context, chosen))
        return totals


def _pairs(values: np.ndarray, active: np.ndarray, group: np.ndarray, count: int) -> list[tuple[int, int]]:
    """(winner, loser) rows: of each group the best against the worst, the second best against the second worst, ...

    Edits of equal value make no pair.
    """
    found = []
    for name in np.unique(group[active]):
        rows = np.flatnonzero((group == name) & active)
        order = rows[np.argsort(values[rows], kind="stable")]
        for place in range(min(count, len(order) // 2)):
            worse, better = int(order[place]), int(order[-1 - place])
            if values[better] > values[worse]:
                found.append((better, worse))
    return found
