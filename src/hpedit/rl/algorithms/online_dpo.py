"""Online DPO: the best edits of a group against its worst, by Diffusion-DPO (arXiv 2311.12908).

Credit: ranks within a group make preference pairs; how far apart two rewards are does not count. Edits are made by ODE
steps with the policy as it is; the reference is the editor with its LoRA switched off.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpedit.rl.algorithms.preference import PreferencePairs, accumulate_pairs
from hpedit.rl.algorithms.protocol import Algorithm
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch


class OnlineDPO(Algorithm):
    """Diffusion-DPO on pairs from each group of edits."""

    stochastic = False

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Pair the edits of each group and add the gradient of all pairs."""
        count = self.context.recipe.dpo.pairs_per_group
        ranked = rank_pairs(advantage.numpy(), active.numpy(), batch.group.numpy(), count)
        better, worse = (torch.tensor([pair[side] for pair in ranked], dtype=torch.long) for side in (0, 1))
        winner, loser = (batch.x0[rows.to(batch.x0.device)] for rows in (better, worse))
        keys, weight = [batch.keys[row] for row in better.tolist()], torch.ones(len(better))
        pairs = PreferencePairs(batch.conditioning, batch.group[better], keys, winner, loser, weight)
        return accumulate_pairs(self.context, pairs, batch.levels, iteration, rows=batch.chunk)


def rank_pairs(values: np.ndarray, active: np.ndarray, group: np.ndarray, count: int) -> list[tuple[int, int]]:
    """(winner, loser) rows: of each group best against worst, second best against second worst, ...; ties make none."""
    found = []
    for name in np.unique(group[active]):
        rows = np.flatnonzero((group == name) & active)
        order = rows[np.argsort(values[rows], kind="stable")].tolist()
        pairs = list(zip(reversed(order), order, strict=True))[: min(count, len(order) // 2)]
        found += [(better, worse) for better, worse in pairs if values[better] > values[worse]]
    return found
