"""Online DPO: the best edits of a group against its worst, by Diffusion-DPO (arXiv 2311.12908).

Edits are made by plain ODE steps with the policy as it is; the reference is the editor with its LoRA switched off.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from hpedit.rl.algorithms.noised import draw_levels, draw_noise
from hpedit.rl.algorithms.preference import Pairs, accumulate_pairs
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.rollout import Batch, parts
from hpedit.rl.tally import Tally


class OnlineDPO:
    """See the module; `algorithms.protocol.Algorithm` says when what is called."""

    stochastic = False
    keep_mu = False

    def __init__(self, setting: Setting) -> None:
        """Keeps no state beside the policy's."""
        self.setting = setting
        self.state: dict[str, Tensor] = {}

    def behaviour(self) -> AbstractContextManager[None]:
        """The policy itself makes the edits."""
        return nullcontext()

    def after_iteration(self, iteration: int) -> None:
        """Nothing is left to do."""

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> Tally:
        """Pair the edits of each group and add the gradient of all pairs at a few noise levels."""
        recipe, tally = self.setting.recipe, Tally()
        terms = []
        for winner, loser in _pairs(advantage.numpy(), active.numpy(), batch.group.numpy(), recipe.dpo.pairs_per_group):
            levels = draw_levels(batch.levels, recipe.dpo.levels, recipe.seed, iteration, *batch.keys[winner])
            terms += [(winner, loser, float(t), number) for number, t in enumerate(levels)]
        for part in parts(torch.arange(len(terms)), max(1, batch.chunk // 2)):
            chosen = [terms[i] for i in part.tolist()]
            noise = [
                draw_noise(batch.clean.shape[1:], recipe.seed, iteration, *batch.keys[winner], number)
                for winner, _, _, number in chosen
            ]
            winners, losers = (torch.tensor([term[side] for term in chosen]) for side in (0, 1))
            device = batch.clean.device
            pairs = Pairs(
                conditioning=batch.conditioning,
                group=batch.group[winners],
                winner=batch.clean[winners.to(device)],
                loser=batch.clean[losers.to(device)],
                noise=torch.stack(noise).to(device),
                t=torch.tensor([term[2] for term in chosen]),
                weight=torch.ones(len(chosen)),
            )
            tally.merge(accumulate_pairs(self.setting, pairs))
        return tally


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
