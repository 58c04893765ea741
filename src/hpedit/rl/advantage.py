"""From scores to advantages: how much better an edit is than its siblings.

A group is all edits of one (source image bytes, instruction). An unscorable edit (None) has no reward: it is left out
and counted. A group whose rewards are all equal teaches nothing: its advantage is exactly 0, and it is skipped and
counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in Flow-GRPO: a group that hardly differs must not shout."""
MAX_ADVANTAGE = 5.0
"""Advantages are clipped to +- this many standard deviations, as in Flow-GRPO."""
EQUAL_SPREAD = 1e-6
"""Rewards closer than this are equal: what is left of equal rewards after float32 arithmetic, some 6e-8 of a value up
to 1.
"""


def reward_from_score(score: float) -> float:
    """HP-Edit's reward map r = sigmoid(2 score - 5): 0..5 -> .0067 .0474 .2689 .7311 .9526 .9933 (arXiv 2604.19406)."""
    return 1.0 / (1.0 + math.exp(5.0 - 2.0 * score))


@dataclass(frozen=True, slots=True)
class Advantages:
    """Advantages of a batch of edits, and what was left out."""

    values: NDArray[np.float64]
    """(n,) in [-5, 5]; exactly 0 where the edit is unscorable or its group gives no signal."""
    active: NDArray[np.bool_]
    """(n,) whether the edit takes part in the update."""
    unscorable: int
    """Edits without a reward."""
    groups: int
    """Groups in the batch."""
    zero_std_groups: int
    """Groups with all rewards equal, or fewer than two of them."""

    @property
    def frac_zero_std(self) -> float:
        """Share of groups without a signal, in [0, 1]."""
        return self.zero_std_groups / self.groups if self.groups else 0.0


def group_advantages(
    rewards: Sequence[float | None], groups: Sequence[int], *, std: str = "batch", max_advantage: float = MAX_ADVANTAGE
) -> Advantages:
    """A = (r - mean of the group) / (std + 1e-4), clipped.

    Args:
        rewards: (n,) finite numbers, or None where an edit could not be scored.
        groups: (n,) the group that each edit belongs to.
        std: "batch" divides by the standard deviation of all rewards (what public edit recipes do: groups whose edits
            differ much weigh more), "group" by that of the edit's own group.
        max_advantage: Clip, in standard deviations.
    """
    assert len(rewards) == len(groups), "one group id for each reward"
    assert std in ("batch", "group"), std
    r = np.array([math.nan if reward is None else reward for reward in rewards], dtype=np.float64)
    scored = np.array([reward is not None for reward in rewards], dtype=bool)
    assert np.isfinite(r[scored]).all(), "a reward is finite or None"
    ids = np.asarray(groups)
    values = np.zeros(len(r))
    active = np.zeros(len(r), dtype=bool)
    batch_std = float(r[scored].std()) if scored.any() else 0.0
    names = np.unique(ids)
    without_signal = 0
    for name in names:
        members = (ids == name) & scored
        if members.sum() < 2 or np.ptp(r[members]) <= EQUAL_SPREAD:
            without_signal += 1
            continue
        scale = batch_std if std == "batch" else float(r[members].std())
        values[members] = np.clip((r[members] - r[members].mean()) / (scale + STD_FLOOR), -max_advantage, max_advantage)
        active |= members
    return Advantages(values, active, int((~scored).sum()), len(names), without_signal)
