"""Expert iteration: supervised flow matching on the best edit of each group (RAFT, arXiv 2304.06767, for flows).

Credit: the best edit of a group counts, the others do not; a zero-variance group teaches nothing. Edits are made by ODE
steps with the average of the weights, which is what is exported. Every update draws new noise and levels, so a few
kept edits bear many updates (`train.inner_updates`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from hpedit.rl.algorithms.flow_matching import accumulate_imitation
from hpedit.rl.algorithms.protocol import Algorithm
from hpedit.rl.metrics import MetricSums
from hpedit.rl.rollout import Batch


class ExpertIteration(Algorithm):
    """Imitates the best of n."""

    stochastic = False

    def behaviour(self) -> AbstractContextManager[None]:
        """The average of the weights makes the edits."""
        return self.context.policy.swapped(self.context.policy.average)

    def accumulate(self, batch: Batch, advantage: Tensor, active: Tensor, iteration: int) -> MetricSums:
        """Add the gradient of the flow-matching loss of each group's best edit."""
        best = best_rows(advantage.numpy(), active.numpy(), batch.group.numpy())
        return accumulate_imitation(self.context, batch, torch.tensor(best, dtype=torch.long), iteration)


def best_rows(values: np.ndarray, active: np.ndarray, group: np.ndarray) -> list[int]:
    """Row of the best active edit of each group, the first of several; arrays are (n,)."""
    rows = [np.flatnonzero((group == name) & active) for name in np.unique(group[active])]
    return [int(of_group[values[of_group].argmax()]) for of_group in rows]
