"""Cluster bootstrap: correlations and shares with 95 % intervals, resampling source photos.

Means have intervals in closed form, see `hpedit.stats.cluster_mean`. What has none is resampled: edits of one photo
resemble each other, so whole sources are drawn with replacement (cluster bootstrap, Efron & Tibshirani 1993).
Percentile intervals of few sources are too narrow, by sqrt((k - 1) / k) and by the normal for the t distribution; so
the percentiles are those that make the interval of a mean as wide as its t interval (expanded percentile interval:
Hesterberg 2015, "What teachers should know about the bootstrap").

A resample is a row of integer weights, the times each observation was drawn, and a statistic is a function
``(values, weights) -> one number a row``, so that 2,000 resamples are a few matrix operations:

    estimate = bootstrap_by_source(np.column_stack([x, y]), sources, weighted_spearman, seed=0)
    estimate.as_dict()          # {"value": 0.61, "ci95": [0.52, 0.69]}

What is undefined (no values, a constant side of a correlation, one source only for an interval) is NaN here and None
in ``as_dict``; never 0. NaN observations are unscorable: left out, and visible in ``Estimate.n``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from hpedit.errors import HPEditError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Statistic = Callable[[FloatArray, FloatArray], FloatArray]
"""``(values (n,) or (n, k), weights (B, n)) -> (B,)``; NaN in a row whose statistic is undefined."""

RESAMPLES = 2000
"""With 2,000 resamples the end of a 95 % interval is itself known to about a twentieth of the interval's width."""

_RESIDUE = 1e-9
"""Variances of standardised values or of ranks below this are rounding, not variation."""

_CELLS = 2_000_000
"""Weights held at once (resamples x observations): 16 MB, whatever the size of the table."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval.

    ``value``, ``low`` and ``high`` are NaN where undefined. ``n`` counts the observations that entered, ``sources``
    the photos they come from. ``p`` is of the truth being 0, from the same method as the interval; NaN where none is.
    """

    value: float
    low: float
    high: float
    n: int
    sources: int
    p: float = math.nan

    def as_dict(self, key: str = "value") -> dict[str, float | list[float | None] | None]:
        """JSON form ``{key: value, "ci95": [low, high]}`` with None for what is undefined."""
        return {key: _json_number(self.value), "ci95": [_json_number(self.low), _json_number(self.high)]}


def bootstrap_by_source(
    values: ArrayLike, sources: Sequence[str], statistic: Statistic, seed: int = 0, n: int = RESAMPLES
) -> Estimate:
    """Estimate ``statistic`` with a 95 % expanded percentile interval over resampled sources.

    Args:
        values: (n,) or (n, k); a row with a NaN is left out.
        sources: (n,) source id of each row, the unit that is resampled.
        statistic: see ``Statistic``.
        seed: of the resampling; equal inputs and seed give equal intervals, whatever the order of the sources' names.
        n: number of resamples.

    Raises:
        HPEditError: ``values`` and ``sources`` differ in length.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim == 0 or len(table) != len(sources):
        raise HPEditError(f"{len(np.atleast_1d(table))} values but {len(sources)} source ids: each value needs one")
    kept = np.flatnonzero(~np.isnan(table.reshape(len(table), math.prod(table.shape[1:]))).any(axis=1)).tolist()
    table = table[kept]
    if len(table) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    names, index = source_index([sources[row] for row in kept])
    value = float(statistic(table, np.ones((1, len(table))))[0])
    low, high = _interval(table, index, len(names), statistic, seed, n)
    return Estimate(value, low, high, len(table), len(names))


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of ``values`` (n,)."""
    return _ratio(weights @ values, weights.sum(axis=1))


def ratio_of_sums(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum of column 0 over the sum of column 1: a share whose parts are counted per source."""
    sums = weights @ values
    return _ratio(sums[:, 0], sums[:, 1])


def weighted_pearson(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Pearson's correlation of the two columns of ``values`` (n, 2)."""
    deviation = values.std(axis=0)
    if (np.ptp(values, axis=0) == 0).any() or (deviation == 0).any():
        return np.full(len(weights), np.nan)
    # Standardised first, so that "does not vary" has one threshold whatever the unit.
    x, y = ((values - values.mean(axis=0)) / deviation).T
    total = np.maximum(weights.sum(axis=1), 1.0)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mean_x * mean_y
    return _correlation(covariance, weights @ (x * x) / total - mean_x**2, weights @ (y * y) / total - mean_y**2)


def weighted_spearman(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's correlation of the two columns of ``values`` (n, 2), ties by mid-ranks within each resample."""
    x, y = _weighted_ranks(values[:, 0], weights), _weighted_ranks(values[:, 1], weights)
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
    x -= (weights * x).sum(axis=1, keepdims=True) / total
    y -= (weights * y).sum(axis=1, keepdims=True) / total
    covariance = (weights * x * y).sum(axis=1)
    return _correlation(covariance, (weights * x * x).sum(axis=1), (weights * y * y).sum(axis=1))


def source_index(sources: Sequence[str]) -> tuple[list[str], IntArray]:
    """Sorted distinct source ids, and the position (n,) of each entry's id among them."""
    names = sorted(set(sources))
    position = {name: number for number, name in enumerate(names)}
    return names, np.array([position[source] for source in sources], dtype=np.int64)


def _interval(
    table: FloatArray, index: IntArray, sources: int, statistic: Statistic, seed: int, n: int
) -> tuple[float, float]:
    """The interval's ends; NaN with one source, or if the statistic is undefined in over half of the resamples."""
    if sources < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // len(table))
    drawn = [_draw(rng, min(step, n - start), sources) for start in range(0, n, step)]
    results = np.concatenate([statistic(table, counts[:, index]) for counts in drawn])
    defined = results[~np.isnan(results)]
    if 2 * len(defined) < n:
        return math.nan, math.nan
    return expanded_percentiles(defined, sources)


def expanded_percentiles(drawn: FloatArray, sources: int) -> tuple[float, float]:
    """Ends of the 95 % interval from a statistic's values (B,) in resamples of ``sources`` sources, at least two."""
    tail = float(ndtr(-math.sqrt(sources / (sources - 1)) * stdtrit(sources - 1, 0.975)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _draw(rng: np.random.Generator, rows: int, sources: int) -> FloatArray:
    """(rows, sources) times each source is drawn when ``sources`` of them are drawn with replacement."""
    return rng.multinomial(sources, np.full(sources, 1.0 / sources), size=rows).astype(np.float64)


def _weighted_ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mid-ranks (B, n) of ``values`` (n,) in the sample where observation i occurs ``weights[b, i]`` times."""
    levels, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(levels)))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(mass, axis=1) - (mass - 1) / 2
    return np.ascontiguousarray(middle[:, level])


def _correlation(covariance: FloatArray, variance_x: FloatArray, variance_y: FloatArray) -> FloatArray:
    """Covariance over deviations, in [-1, 1]; NaN where a side does not vary beyond float residue."""
    varies = (variance_x > _RESIDUE) & (variance_y > _RESIDUE)
    product = np.sqrt(np.where(varies, variance_x * variance_y, 0.0))
    return np.clip(_ratio(covariance, product), -1.0, 1.0)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
