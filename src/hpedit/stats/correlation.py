"""Correlation of a score with people's, pairwise accuracy and mean absolute error, with bootstrap intervals.

All measures come from one set of resamples by source (`Resamples`), so that differences between two scores are paired:

    draws = Resamples.of(sources, seed=0)
    scorer = draws.measure(prediction, target)
    judge = draws.measure(raw, target)
    draws.estimate(scorer["pearson"] - judge["pearson"]).as_dict()

What is a sum over edits (or over pairs of one photo's edits) is summed by source once; a resample is then a weighted
sum of these, whatever the number of edits. Spearman's ranks and Kendall's pairs are computed for each resample. Values
are compared at nine decimals, so that means of the same ratings in another order tie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.stats.bootstrap import Estimate, FloatArray, IntArray, expanded_percentiles, source_index, weighted_spearman
from hpedit.stats.kendall import dominated, kendall_tau_b

RESAMPLES = 1000
FEWEST = 200
_CELLS = 4_000_000
"""Resamples times edits, what time is spent on: a larger table gets fewer resamples, at least `FEWEST`. The ends of an
interval from 200 resamples are known to about a twentieth of its width, and such a table's intervals are narrow."""
_CHUNK = 300_000
"""Weights held at once (resamples x edits): 2.4 MB, which a processor's cache holds."""
_MANY = 300
"""Edits of one photo from which its pairs are counted, not compared."""
_DECIMALS = 9
_RESIDUE = 1e-9
"""Variances of standardised values below this are rounding, not variation."""

MEASURES = ("pearson", "spearman", "kendall", "pairwise_accuracy")
"""Of these more is better; "mae", the mean absolute error in points of 5, stands beside them."""
PAIRS = ("right", "wrong", "tied_by_score", "tied_by_people", "tied_by_both")
"""How the pairs of one photo's edits are counted: people tell the first three apart, the score the first two."""

Measured = dict[str, FloatArray]
"""Name -> (1 + B,): the value, then that of each resample; NaN where undefined."""


@dataclass(frozen=True, slots=True)
class Resamples:
    """Bootstrap resamples: how often each source is drawn in each."""

    names: tuple[str, ...]
    index: IntArray
    """(n,) source of each edit."""
    counts: FloatArray
    """(1 + B, S); the first row is all ones: the sample itself."""

    @classmethod
    def of(cls, sources: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> Resamples:
        """Draw sources with replacement; equal inputs give equal draws, whatever the order of the edits.

        ``resamples`` is lowered for tables of more than 4,000 edits, to `FEWEST` at least.
        """
        names, index = source_index(sources)
        wanted = min(resamples, max(FEWEST, _CELLS // max(1, len(index))))
        rng = np.random.default_rng(seed)
        counts = np.ones((1 + wanted if len(names) > 1 else 1, len(names)))
        for row in counts[1:]:
            row[:] = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        return cls(tuple(names), index, counts)

    @property
    def resamples(self) -> int:
        """Number of resamples; 0 with one source, which allows no interval."""
        return len(self.counts) - 1

    def part(self, rows: IntArray) -> Resamples:
        """The same resamples of some of the edits."""
        present, index = np.unique(self.index[rows], return_inverse=True)
        return Resamples(tuple(self.names[source] for source in present), index, self.counts[:, present])

    def measure(self, score: FloatArray, target: FloatArray) -> Measured:
        """`MEASURES`, mae, pairwise_untied and pairwise_ties_wrong of (n,) values without NaN."""
        return self.correlations(score, target) | pairwise_shares(
            self.sums(count_pairs(score, target, self.index)[:, :3])
        )

    def correlations(self, score: FloatArray, target: FloatArray) -> Measured:
        """Those of `measure` that are no share of pairs."""
        x, y = np.round(score, _DECIMALS), np.round(target, _DECIMALS)
        return {
            "pearson": self._pearson(x, y),
            "spearman": self._spearman(x, y),
            "kendall": kendall_tau_b(x, y, self.index, self.counts),
            "mae": self.mean(np.abs(x - y)),
        }

    def estimate(self, values: FloatArray, n: int | None = None) -> Estimate:
        """Value and 95 % expanded percentile interval.

        It is unknown with one source, if over half of the resamples are undefined, and if all are equal: three pairs
        of three right show no certainty, but too few to vary.
        ``n`` is how many observations entered, if not one an edit.
        """
        found = values[1:][~np.isnan(values[1:])]
        low = high = math.nan
        enough = len(self.names) > 1 and 2 * len(found) >= self.resamples > 0 and not math.isnan(values[0])
        if enough and np.ptp(found) > _RESIDUE:
            low, high = expanded_percentiles(found, len(self.names))
        return Estimate(float(values[0]), low, high, len(self.index) if n is None else n, len(self.names))

    def as_json(self, measured: Measured) -> dict[str, Any]:
        """Each measure as ``{"value", "ci95": [low, high]}``, None for what is undefined."""
        return {name: self.estimate(values).as_dict() for name, values in measured.items()}

    def sums(self, table: FloatArray) -> FloatArray:
        """Sums (1 + B, k) of the columns of ``table`` (n, k)."""
        columns = [np.bincount(self.index, column, len(self.names)) for column in table.T]
        return self.counts @ np.column_stack(columns)

    def mean(self, values: FloatArray) -> FloatArray:
        """Mean (1 + B,) of ``values`` (n,)."""
        total, count = self.sums(np.column_stack([values, np.ones(len(values))])).T
        return safe_ratio(total, count)

    def _pearson(self, x: FloatArray, y: FloatArray) -> FloatArray:
        if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return np.full(len(self.counts), np.nan)
        # Standardised first, so that "does not vary" has one threshold whatever the unit.
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
        table = np.column_stack([np.ones(len(x)), x, y, x * y, x * x, y * y])
        count, sum_x, sum_y, product, square_x, square_y = self.sums(table).T
        count = np.maximum(count, 1.0)
        mean_x, mean_y = sum_x / count, sum_y / count
        variance_x, variance_y = square_x / count - mean_x**2, square_y / count - mean_y**2
        varies = (variance_x > _RESIDUE) & (variance_y > _RESIDUE)
        scale = np.sqrt(np.where(varies, variance_x * variance_y, 0.0))
        return np.clip(safe_ratio(product / count - mean_x * mean_y, scale), -1.0, 1.0)

    def _spearman(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Spearman's correlation; the weights of each edit are spread out for a few resamples at a time."""
        if len(x) == 0:
            return np.full(len(self.counts), np.nan)
        table, step = np.column_stack([x, y]), max(1, _CHUNK // len(x))
        parts = [
            weighted_spearman(table, self.counts[start : start + step][:, self.index])
            for start in range(0, len(self.counts), step)
        ]
        return np.concatenate(parts)


def count_pairs(x: FloatArray, y: FloatArray, index: IntArray) -> FloatArray:
    """Count the pairs of edits of one source by `PAIRS`.

    Args:
        x: (n,) scores.
        y: (n,) people's.
        index: (n,) source of each.

    Returns:
        (n, 5): the sum over the rows of a source is that source's counts. Memory is O(n), even if one source has all
        edits; time is O(n log n) for a source of more than `_MANY` edits, and O(n^2) for a smaller one.
    """
    order = np.argsort(index, kind="stable")
    x, y, index = np.round(x[order], _DECIMALS), np.round(y[order], _DECIMALS), index[order]
    end = np.searchsorted(index, index, side="right")
    start = np.searchsorted(index, index, side="left")
    counts = np.zeros((len(x), len(PAIRS)))
    many = end - start > _MANY
    for first in np.unique(start[many]).tolist():
        rows = slice(first, end[first])
        counts[first] = _count_many(x[rows], y[rows])
    first, distance = np.flatnonzero(~many), 0
    # Pairs at distance 1, 2, ... in the order by source, as long as a source reaches that far.
    while len(first := first[first + (distance := distance + 1) < end[first]]):
        wanted = np.sign(y[first + distance] - y[first])
        given = np.sign(x[first + distance] - x[first])
        kind = np.select([wanted * given > 0, wanted * given < 0, wanted != 0, given != 0], [0, 1, 2, 3], 4)
        counts[first, kind] += 1
    result = np.empty_like(counts)
    result[order] = counts
    return result


def _count_many(x: FloatArray, y: FloatArray) -> list[float]:
    """The five counts of one source, without looking at every pair."""
    right, wrong = float(dominated(x, y).sum()), float(dominated(x, -y).sum())
    tied_x, tied_y, both = _tied_pairs(x), _tied_pairs(y), _tied_pairs(np.column_stack([x, y]))
    return [right, wrong, tied_x - both, tied_y - both, both]


def _tied_pairs(values: FloatArray) -> float:
    """Pairs of equal values (n,), or of equal rows (n, k)."""
    _, counts = np.unique(values, axis=0 if values.ndim > 1 else None, return_counts=True)
    return float((counts * (counts - 1) // 2).sum())


def pairwise_shares(counts: FloatArray) -> Measured:
    """Shares of the pairs that people tell apart, from (R, 3) of [right, wrong, tied by the score].

    ``pairwise_accuracy`` gives a tie of the score half, ``pairwise_ties_wrong`` nothing (as EditScore's benchmark
    does), ``pairwise_untied`` leaves it out.
    """
    right, wrong, tied = counts.T
    return {
        "pairwise_accuracy": safe_ratio(right + tied / 2, right + wrong + tied),
        "pairwise_untied": safe_ratio(right, right + wrong),
        "pairwise_ties_wrong": safe_ratio(right, right + wrong + tied),
    }


def safe_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient, NaN where the denominator is 0."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def mean_over(parts: Sequence[Measured], masses: Sequence[FloatArray]) -> Measured:
    """Average parts by their masses (1 + B,), leaving out of each resample the parts that are undefined in it."""
    result = {}
    for name in parts[0] if parts else ():
        values = np.array([part[name] for part in parts])
        weights = np.where(np.isnan(values), 0.0, masses)
        result[name] = safe_ratio((np.nan_to_num(values) * weights).sum(axis=0), weights.sum(axis=0))
    return result
