"""From a judge's answers to the columns of a linear model: missing answers, a curve, one unit.

Missing answers are filled with their expectation given the answers of the same edit, under a normal distribution
fitted to the training edits; the covariance that remains is handed on, so that a prediction knows what it did not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hpedit.scorer.statistics import FloatArray, IntArray

_CURVE_QUANTILES = (0.2, 0.4, 0.6, 0.8)
_RIDGE = 1e-3
"""Share of its own variance added to each answer's before inverting: some answers are functions of others."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Rows (m,) that had missing answers, and the covariance (m, p, p) of their columns given what was there."""

    rows: IntArray
    covariances: FloatArray

    def variance(self, coefficients: FloatArray) -> FloatArray:
        """Variance (n,) of ``sum_p coefficients * columns`` due to missing answers, for coefficients (n, p)."""
        result = np.zeros(len(coefficients))
        own = coefficients[self.rows]
        result[self.rows] = np.clip(np.einsum("mp,mpq,mq->m", own, self.covariances, own), 0.0, None)
        return result


@dataclass(frozen=True, slots=True)
class Design:
    """How to make columns of answers; every statistic is of the edits that it was fitted on."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    """Of the answers, for filling in."""
    knots: tuple[float, ...]
    """Of the curve of the first answer, rising; fewer than two = no curve."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    """Mean and deviation of the columns; the deviation is 1 for a column that does not vary."""
    rising: tuple[bool, ...]
    """Whether a column may only count in favour."""

    def transform(self, answers: FloatArray) -> tuple[FloatArray, Gaps]:
        """Columns (n, p) of mean 0 and variance 1 in training, and the gaps; NaN for a row (n, f) without answers."""
        filled, gaps = self._fill(answers)
        columns = np.hstack([filled, _ramps(filled[:, 0], self.knots)])
        scale = np.array(self.scale)
        covariances = np.zeros((len(gaps.rows), columns.shape[1], columns.shape[1]))
        width = filled.shape[1]
        covariances[:, :width, :width] = gaps.covariances
        return (columns - np.array(self.centre)) / scale, Gaps(gaps.rows, covariances / np.outer(scale, scale))

    def _fill(self, answers: FloatArray) -> tuple[FloatArray, Gaps]:
        missing = np.isnan(answers)
        filled = answers.copy()
        rows = np.flatnonzero(missing.any(axis=1))
        covariances = np.zeros((len(rows), answers.shape[1], answers.shape[1]))
        for position, row in enumerate(rows):
            gap, known = np.flatnonzero(missing[row]), np.flatnonzero(~missing[row])
            if len(known):
                filled[row, gap], covariance = self._expect(answers[row, known], gap, known)
                covariances[position][np.ix_(gap, gap)] = covariance
        return filled, Gaps(rows, covariances)

    def _expect(self, values: FloatArray, gap: IntArray, known: IntArray) -> tuple[FloatArray, FloatArray]:
        """Conditional mean and covariance of the answers ``gap`` given the ``values`` of the answers ``known``."""
        mean, covariance = np.array(self.mean), np.array(self.covariance)
        own = covariance[np.ix_(known, known)]
        own = own + np.diag(_RIDGE * np.diag(own) + 1e-12)
        gain = np.linalg.solve(own, covariance[np.ix_(known, gap)]).T
        return mean[gap] + gain @ (values - mean[known]), covariance[np.ix_(gap, gap)] - gain @ covariance[
            np.ix_(known, gap)
        ]

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Inverse of `to_json`; KeyError or TypeError for anything else."""
        rows = tuple(tuple(row) for row in data["covariance"])
        return cls(**{**{key: tuple(value) for key, value in data.items()}, "covariance": rows})


def fit_design(answers: FloatArray, rising: Sequence[bool], curved: bool) -> Design:
    """Fit to answers (n, f), each column of which has at least one value.

    Args:
        answers: NaN = missing.
        rising: (f,) whether an answer may only count in favour.
        curved: add ramps of the first answer between its quantiles, so that its effect is a piecewise-linear curve.
    """
    mean, covariance = _moments(answers)
    first = answers[:, 0][~np.isnan(answers[:, 0])]
    knots = np.unique(np.quantile(first, (0.0, *_CURVE_QUANTILES, 1.0))) if curved else np.empty(0)
    ramps = max(0, len(knots) - 1)
    plain = Design(
        mean=tuple(mean.tolist()),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
        knots=tuple(knots.tolist()),
        centre=(0.0,) * (len(mean) + ramps),
        scale=(1.0,) * (len(mean) + ramps),
        rising=(*rising, *[True] * ramps),
    )
    columns, _ = plain.transform(answers)
    varies = np.ptp(columns, axis=0) > 0
    return Design(
        plain.mean,
        plain.covariance,
        plain.knots,
        centre=tuple(columns.mean(axis=0).tolist()),
        scale=tuple(np.where(varies, columns.std(axis=0), 1.0).tolist()),
        rising=plain.rising,
    )


def _moments(answers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance over the edits with every answer; without enough of them, answer by answer."""
    complete = answers[~np.isnan(answers).any(axis=1)]
    if len(complete) > 2 * answers.shape[1]:
        return complete.mean(axis=0), np.atleast_2d(np.cov(complete, rowvar=False))
    return np.nanmean(answers, axis=0), np.diag(np.nanvar(answers, axis=0))


def _ramps(values: FloatArray, knots: Sequence[float]) -> FloatArray:
    """(n, k - 1) columns that rise from 0 to the knots' distance between two neighbouring knots."""
    low, high = np.array(knots[:-1]), np.array(knots[1:])
    ramps: FloatArray = np.clip(values[:, None], low, high) - low
    return ramps
