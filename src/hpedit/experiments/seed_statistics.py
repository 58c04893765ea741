"""Mean gain over several training seeds with its interval: a single run does not establish a method's effect.

    gain = seed_gain([{"photo-1": [0.4, 0.1], "photo-2": [0.3]}, {...}, {...}])    # one mapping a seed
    gain.value, gain.low, gain.high, gain.per_seed

Both the training seeds and the benchmark's photographs vary, and all seeds are measured on the same photographs: an
easy one is easy for all. So the variance of the mean is that between seeds plus that between photographs (two-way
clusters: Cameron, Gelbach & Miller 2011, without the subtraction of their overlap, which few seeds do not allow to
estimate), and t has Satterthwaite's degrees of freedom: near seeds - 1 where trainings differ much, near photographs
- 1 where they do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import Estimate, FloatArray
from hpedit.stats.cluster_mean import is_clear

FEWEST_SEEDS = 3
"""Seeds below which nothing is concluded."""
CAUTION = 2.0
"""The seeds' variance counts so many times in the degrees of freedom: three seeds that happen to agree would otherwise
narrow the interval twice, by their variance and by its weight."""


@dataclass(frozen=True, slots=True)
class SeedGain:
    """Mean over seeds of the mean paired gain, with its 95 % interval over seeds and sources."""

    value: float
    low: float
    """NaN with fewer than two seeds or two sources: the variation is then unknown."""
    high: float
    per_seed: tuple[float, ...]
    """Each seed's own mean over its cases."""
    seeds: int
    sources: int
    """Different photographs over all seeds."""
    n: int
    """Cases, summed over seeds."""

    p: float = math.nan
    """Two-sided, of the truth being 0, from the same t as the interval."""

    def is_clear(self, corrected: float | None) -> bool:
        """Whether the gain counts: interval and corrected p agree, over enough photographs and seeds."""
        estimate = Estimate(self.value, self.low, self.high, self.n, self.sources)
        return is_clear(estimate, corrected) and self.seeds >= FEWEST_SEEDS

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; `ci95` and `p` are None without an interval."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        found = {"mean": self.value, "ci95": [self.low, self.high] if known else None, "per_seed": list(self.per_seed)}
        found["p"] = None if math.isnan(self.p) else self.p
        return found | {"seeds": self.seeds, "sources": self.sources, "n": self.n}


def seed_gain(gains_by_seed: Sequence[Mapping[str, Sequence[float]]]) -> SeedGain:
    """Mean gain over seeds with its 95 % interval over seeds and source photographs.

    Seeds have equal weight, and so have the cases of a seed.

    Args:
        gains_by_seed: For each seed: source photograph -> paired gains (post - base) of that source's cases.

    Raises:
        HPEditError: no seed, a seed without a gain, or a gain that is not finite.
    """
    sums, sizes = _table(gains_by_seed)
    k, count = sums.shape
    per_seed = sums.sum(1) / sizes.sum(1)
    mean, each = float(per_seed.mean()), tuple(float(one) for one in per_seed)
    low = high = p = math.nan
    if k > 1 and count > 1:
        variance, freedom = _variance(sums, sizes)
        half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
        low, high = mean - half, mean + half
        p = 2 * float(stdtr(freedom, -abs(mean) / math.sqrt(variance))) if variance else float(mean == 0)
    return SeedGain(mean, low, high, each, k, count, int(sizes.sum()), p)


def _variance(sums: FloatArray, sizes: FloatArray) -> tuple[float, float]:
    """Variance of the mean over seeds, and its degrees of freedom, from (seeds, sources) sums and numbers of cases."""
    k, count = sums.shape
    per_seed = sums.sum(1) / sizes.sum(1)
    seeds = float(per_seed.var(ddof=1)) / k
    # What each photograph adds to the mean, beyond the part that any photograph of its size would.
    share = (sizes / sizes.sum(1, keepdims=True)).mean(0)
    deviations = ((sums - sizes * per_seed[:, None]) / sizes.sum(1, keepdims=True)).mean(0)
    photos = float((deviations**2 / np.maximum(1 - share, 1e-9)).sum())
    total = seeds + photos
    if not total:
        return 0.0, 1.0
    counted = CAUTION * seeds
    return total, (counted + photos) ** 2 / (counted**2 / (k - 1) + photos**2 / (count - 1))


def _table(gains_by_seed: Sequence[Mapping[str, Sequence[float]]]) -> tuple[FloatArray, FloatArray]:
    """(seeds, sources) sums of gains and numbers of cases; sources in the order of their names."""
    if not gains_by_seed:
        raise HPEditError("no seeds")
    names = sorted({name for gains in gains_by_seed for name, values in gains.items() if len(values)})
    place = {name: index for index, name in enumerate(names)}
    sums, sizes = np.zeros((len(gains_by_seed), len(names))), np.zeros((len(gains_by_seed), len(names)))
    for row, gains in enumerate(gains_by_seed):
        for name, values in gains.items():
            if len(values):
                sums[row, place[name]], sizes[row, place[name]] = sum(values), len(values)
        if not sizes[row].any():
            raise HPEditError(f"seed {row} has no gain")
    if not np.isfinite(sums).all():
        raise HPEditError("a gain is not finite", hint="leave out what could not be scored")
    return sums, sizes
