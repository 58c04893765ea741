"""Means with intervals and p values by source photo: one method for every mean score, gain and change.

    [gain] = mean_intervals([after - before], sources)
    gain.low, gain.high, gain.p          # the interval excludes 0 exactly where p < 0.05

Edits of one photo resemble each other, so a mean's standard error comes from the photos' sums (cluster-robust, with the
leverage correction CR2 of Bell & McCaffrey 2002), and its t distribution has their Satterthwaite degrees of freedom,
under the working model that edits of one photo are equal: at most photos - 1. Rare large losses make the mean skewed;
half of the estimated skewness, which is itself uncertain, is corrected by Hall's monotone transformation of t (1992,
"On the removal of skewness by transformation"). Interval and p are of the same transformed t, so they never disagree.

Coverage, measured by benchmarks/coverage.py, is in docs/bench.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import Estimate, FloatArray, source_index
from hpedit.stats.intervals import FEWEST_PHOTOS

SIGNIFICANT = 0.05
"""Corrected p below which a difference counts."""
SKEWNESS = 0.5
"""Share of the estimated skewness that is corrected: all of it overshoots when it is estimated from few photos."""
FLOOR = 0.9
"""Share of the variance pooled over the tasks below which no task's variance is taken to lie."""


@dataclass(frozen=True, slots=True)
class ClusterMean:
    """A mean with its standard error by source."""

    value: float
    variance: float
    """Of the mean; NaN with fewer than two sources."""
    freedom: float
    """Degrees of freedom of its t."""
    third: float
    """Estimated third moment of the mean about its truth, `SKEWNESS` of it."""
    n: int
    sources: int

    def estimate(self, level: float = 0.95) -> Estimate:
        """The mean with its interval at `level` and the two-sided p of the truth being 0."""
        if math.isnan(self.variance):
            return Estimate(self.value, math.nan, math.nan, self.n, self.sources)
        error = math.sqrt(self.variance)
        if error == 0:
            return Estimate(self.value, self.value, self.value, self.n, self.sources, float(self.value == 0))
        skew = self.third / error**3
        bound = float(stdtrit(self.freedom, 0.5 + level / 2))
        low, high = (self.value - error * _untransformed(end, skew) for end in (bound, -bound))
        p = 2 * float(stdtr(self.freedom, -abs(_transformed(self.value / error, skew))))
        return Estimate(self.value, low, high, self.n, self.sources, p)


def _transformed(t: float, skew: float) -> float:
    """Hall's transformation of a studentised mean whose third standardised moment is `skew`."""
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def _untransformed(y: float, skew: float) -> float:
    """The t that `_transformed` makes y of."""
    a = skew / 3
    if abs(a) < 1e-6:
        return y - skew / 6
    return (float(np.cbrt(1 + 3 * a * (y - skew / 6))) - 1) / a


def cluster_means(columns: Sequence[FloatArray], sources: Sequence[str]) -> list[ClusterMean]:
    """Mean of each column with its standard error by source.

    Args:
        columns: each (n,), n > 0, without NaN.
        sources: (n,) source id of each row.
    """
    table = np.stack(columns, axis=1)
    names, index = source_index(sources)
    sizes = np.bincount(index, minlength=len(names)).astype(np.float64)
    share = sizes / len(table)
    means = table.mean(axis=0)
    if len(names) < 2:
        return [ClusterMean(float(mean), math.nan, math.nan, 0.0, len(table), len(names)) for mean in means]
    # Centred first: equal values must give a deviation of exactly 0.
    centred = table - table[0]
    sums = np.stack([np.bincount(index, column, len(names)) for column in centred.T], axis=1)
    deviations = (sums - sizes[:, None] * centred.mean(axis=0)) / len(table)
    variances = (deviations**2 / (1 - share)[:, None]).sum(axis=0)
    thirds = SKEWNESS * (deviations**3).sum(axis=0)
    freedom = _freedom(sizes)
    return [
        ClusterMean(float(mean), float(variance), freedom, float(third), len(table), len(names))
        for mean, variance, third in zip(means, variances, thirds, strict=True)
    ]


def _freedom(sizes: FloatArray) -> float:
    """Satterthwaite's degrees of freedom of the CR2 variance of a mean, for clusters of so many equal edits.

    The variance is a quadratic form; with P its matrix in the clusters' common values, they are tr(P)^2 / tr(P P)
    (Bell & McCaffrey 2002). k equal clusters have k - 1.
    """
    share = sizes / sizes.sum()
    rows = (np.diag(sizes) - np.outer(sizes, share)) / np.sqrt(1 - share)[:, None]
    form = rows @ rows.T
    return float(np.trace(form) ** 2 / (form**2).sum())


def raised_to_common(parts: Sequence[ClusterMean]) -> list[ClusterMean]:
    """The means of one quantity by task, none with a variance far below that of all tasks pooled.

    A rare disaster is missing from the few photos of most tasks, which then look certain of their small gains; all
    tasks together have seen some. So a task's variance is at least `FLOOR` of the pooled one (per photo, weighted by
    degrees of freedom), and has then the pooled one's degrees of freedom.
    """
    known = [part for part in parts if not math.isnan(part.variance)]
    if len(known) < 2:
        return list(parts)
    weights = np.array([part.freedom for part in known])
    spread = np.array([part.variance * part.sources for part in known]) * weights
    if not spread.any():
        return list(parts)
    pooled, freedom = spread.sum() / weights.sum(), spread.sum() ** 2 / (spread**2 / weights).sum()
    return [
        replace(part, variance=floor, freedom=float(freedom))
        if part.variance < (floor := float(FLOOR * pooled / part.sources))
        else part
        for part in parts
    ]


def mean_intervals(columns: Sequence[FloatArray], sources: Sequence[str], level: float = 0.95) -> list[Estimate]:
    """Mean of each column with its interval by source; see `cluster_means`."""
    return [mean.estimate(level) for mean in cluster_means(columns, sources)]


def mean_ci(values: ArrayLike, sources: Sequence[str]) -> Estimate:
    """Mean of ``values`` (n,) with its 95 % interval by source; NaN values are left out.

    Raises:
        HPEditError: ``values`` and ``sources`` differ in length.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (len(sources),):
        raise HPEditError(f"{column.size} values but {len(sources)} source ids: each value needs one")
    kept = np.flatnonzero(~np.isnan(column)).tolist()
    if not kept:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    return mean_intervals([column[kept]], [sources[row] for row in kept])[0]


def paired_gain(base: ArrayLike, post: ArrayLike, sources: Sequence[str]) -> Estimate:
    """Mean of ``post - base`` over the pairs in which both are known, with its interval by source.

    Args:
        base: (n,) score of the base model's edit of each case; NaN = unscorable.
        post: (n,) score of the post-trained model's edit of the same case and seed.
        sources: (n,) source id of each case.

    Raises:
        HPEditError: the lengths differ.
    """
    before, after = np.asarray(base, dtype=np.float64), np.asarray(post, dtype=np.float64)
    if before.shape != after.shape:
        raise HPEditError(f"a paired gain needs pairs: {before.size} base values against {after.size} post values")
    return mean_ci(after - before, sources)


def is_clear(gain: Estimate, corrected: float | None) -> bool:
    """Whether a difference counts: its interval excludes 0, its corrected p agrees, and it is of enough photos."""
    outside = gain.low > 0 or gain.high < 0
    return outside and corrected is not None and corrected < SIGNIFICANT and gain.sources >= FEWEST_PHOTOS
