"""Group-relative advantages from rewards: how much better an edit is than the others of its group.

A group is all edits of one (source image bytes, instruction). An unscorable edit (None) has no reward: it is left out
and counted. A zero-variance group, whose rewards are all equal, teaches nothing: its advantage is exactly 0, and it is
skipped; `Advantages.zero_variance_groups` names it, so that dynamic sampling can replace it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpedit.errors import HPEditError

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in Flow-GRPO: a group whose rewards hardly differ must not dominate."""
MAX_ADVANTAGE = 5.0
"""Advantages are clipped to +- this many standard deviations, as in Flow-GRPO."""
EQUAL_SPREAD = 1e-6
"""Rewards closer than this are equal: what is left of equal rewards after float32 arithmetic, some 6e-8 of a value up
to 1. For larger rewards it is this share of the largest.
"""
CANCELLED = 1e-12
"""Advantages of a group closer than this are equal: float64 residue of several rewards that cancel each other."""


def reward_from_score(score: float) -> float:
    """HP-Edit's reward map r = sigmoid(2 score - 5): 0..5 -> .0067 .0474 .2689 .7311 .9526 .9933 (arXiv 2604.19406)."""
    return 1.0 / (1.0 + math.exp(5.0 - 2.0 * score))


@dataclass(frozen=True, slots=True)
class Advantages:
    """Advantages of a batch of edits, and what was left out."""

    values: NDArray[np.float64]
    """(n,) in [-5, 5]; exactly 0 where the edit is unscorable or its group has zero variance."""
    active: NDArray[np.bool_]
    """(n,) whether the edit takes part in the update."""
    unscorable: int
    """Edits without a reward; of several rewards, without any one of them."""
    groups: int
    """Groups in the batch."""
    zero_variance_groups: tuple[int, ...] = ()
    """Groups with all rewards equal, or fewer than two of them, by id and in order."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Name of a reward -> edits that have none of it (None)."""
    non_finite: Mapping[str, int] = field(default_factory=dict)
    """Name of a reward -> edits for which it was NaN or infinite: left out like None, but a fault to investigate."""

    @property
    def frac_zero_std(self) -> float:
        """Share of zero-variance groups, in [0, 1]."""
        return len(self.zero_variance_groups) / self.groups if self.groups else 0.0


def group_advantages(
    rewards: Sequence[float | None], groups: Sequence[int], *, std: str = "batch", max_advantage: float = MAX_ADVANTAGE
) -> Advantages:
    """Advantages of one reward: A = (r - mean of the group) / (std + 1e-4), clipped (Flow-GRPO, arXiv 2505.05470).

    Args:
        rewards: (n,) finite numbers, or None where an edit could not be scored.
        groups: (n,) the group that each edit belongs to.
        std: "batch" divides by the standard deviation of all rewards (what public edit recipes do: groups whose edits
            differ much weigh more), "group" by that of the edit's own group.
        max_advantage: Clip, in standard deviations.
    """
    assert all(reward is None or math.isfinite(reward) for reward in rewards), "a reward is finite or None"
    return combined_advantages({"reward": rewards}, {"reward": 1.0}, groups, std=std, max_advantage=max_advantage)


def combined_advantages(
    rewards: Mapping[str, Sequence[float | None]],
    weights: Mapping[str, float],
    groups: Sequence[int],
    *,
    std: str = "batch",
    max_advantage: float = MAX_ADVANTAGE,
) -> Advantages:
    """Advantages of several weighted rewards: A = sum of w_k (r_k - mean of the group) / (std_k + 1e-4), clipped.

    The weights w are scaled to a sum of 1.

    Each reward is divided by its own standard deviation before the sum: a hard one, whose edits hardly differ, counts
    as much as its weight says. Summed first, the one with the largest spread would drown it. One reward alone gives
    `group_advantages` exactly. Within a group, a reward whose values are equal adds exactly 0.

    An edit takes part if it has every reward whose weight is above 0. None, NaN and infinity all mean that it has not;
    they are counted by reward, NaN and infinity apart. Statistics are over the edits that take part. A reward of weight
    0 is ignored.

    Args:
        rewards: Name -> (n,) numbers on any scale, larger is better. A standard deviation near 1e-4 is damped:
            rescale rewards of so small a spread.
        weights: Name -> weight, at least 0; the same names.
        groups: (n,) the group that each edit belongs to.
        std: "batch" divides by a reward's standard deviation over all edits, "group" by that of the edit's own group.
        max_advantage: Clip of the sum, in standard deviations.

    Raises:
        HPEditError: names differ, or a weight is negative, not finite, or all are 0.
    """
    assert std in ("batch", "group"), std
    shares = _shares(rewards, weights)
    assert all(len(rewards[name]) == len(groups) for name in shares), "one group id for each reward"
    table = np.array([[math.nan if r is None else r for r in rewards[name]] for name in shares], dtype=np.float64)
    finite = np.isfinite(table)
    scored = finite.all(axis=0)
    ids = np.asarray(groups)
    names = np.unique(ids)
    batch_std = [_std(row[scored]) if std == "batch" else None for row in table]
    values, active, flat = np.zeros(len(ids)), np.zeros(len(ids), dtype=bool), []
    for group in names:
        members = (ids == group) & scored
        total = _weighted_sum(table[:, members], list(shares.values()), batch_std)
        if len(total) < 2 or np.ptp(total) <= CANCELLED:
            flat.append(int(group))
            continue
        values[members] = np.clip(total, -max_advantage, max_advantage)
        active |= members
    missing = {name: sum(r is None for r in rewards[name]) for name in shares}
    return Advantages(
        values,
        active,
        unscorable=int((~scored).sum()),
        groups=len(names),
        zero_variance_groups=tuple(flat),
        missing=missing,
        non_finite={name: int((~row).sum()) - missing[name] for name, row in zip(shares, finite, strict=True)},
    )


def _weighted_sum(table: NDArray[np.float64], shares: list[float], stds: list[float | None]) -> NDArray[np.float64]:
    """(m,) of a (k, m) table: the k rewards of one group's m edits."""
    total = np.zeros(table.shape[1])
    for rewards, share, std in zip(table, shares, stds, strict=True):
        total += share * _normalised(rewards, std)
    return total


def _normalised(rewards: NDArray[np.float64], std: float | None) -> NDArray[np.float64]:
    """(r - mean) / (std + 1e-4) of one group, by its own standard deviation if none is given; 0 if all are equal."""
    if len(rewards) < 2 or np.ptp(rewards) <= EQUAL_SPREAD * max(1.0, float(np.abs(rewards).max())):
        return np.zeros(len(rewards))
    centred: NDArray[np.float64] = rewards - rewards.mean()
    return centred / ((_std(rewards) if std is None else std) + STD_FLOOR)


def _std(rewards: NDArray[np.float64]) -> float:
    return float(rewards.std()) if len(rewards) else 0.0


def _shares(rewards: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> dict[str, float]:
    """Name -> share of the sum, without those of weight 0."""
    if set(rewards) != set(weights):
        raise HPEditError(
            f"rewards {sorted(rewards)} and weights {sorted(weights)} differ",
            hint="give every reward a weight; 0 leaves it out",
        )
    bad = [name for name, weight in weights.items() if not (math.isfinite(weight) and weight >= 0.0)]
    if bad:
        raise HPEditError(
            f"the weight of {', '.join(map(repr, bad))} is not a number of at least 0",
            hint="for a measure where less is better, make its negative the reward",
        )
    total = sum(weights.values())
    if not total > 0.0:
        raise HPEditError("no reward has a weight above 0", hint="set at least one weight")
    return {name: weight / total for name, weight in weights.items() if weight > 0.0}
