"""A linear model that may only rise with what must count in favour, shared between tasks by partial pooling.

For an edit of task k with standardised features z (the first, the anchor, is the judge's own overall score):

    y = c + u_k + s_k z_0 + sum_j w_j z_j,   s_k >= 0, w_j >= 0 unless feature j has no direction

minimised over squared error + shrinkage * sum w_j^2 + pooling * sum (u_k^2 + (s_k - b)^2). The common slope b is not
shrunk: with strong shrinkage the model is the judge's own score on a fitted scale, which is what a poor set of ratings
should lead to. With one task there is no u_k and s_k = b. The sign constraints make it a non-negative least-squares
problem (Lawson & Hanson 1974), solved from the normal equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hpedit.scorer.evaluation.statistics import FloatArray

_JITTER = 1e-6
"""Added to every penalty: keeps the normal equations positive definite when features repeat one another."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """How strongly coefficients are pulled in, in units of edits (each feature has variance 1)."""

    shrinkage: float | None
    """> 0. Pull of the weights beside the anchor to 0; None: they are 0, and edits that the judge ties stay tied."""
    pooling: float
    """> 0. Pull of a task's offset and slope to those of all tasks."""


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Coefficients on standardised features; see the module's formula."""

    intercept: float
    slope: float
    weights: tuple[float, ...]
    """Of the features after the anchor."""
    offsets: dict[str, float]
    slopes: dict[str, float]
    """By task; a task that is not in it takes offset 0 and the common slope."""

    def coefficients(self, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Intercept (n,) and coefficient of each feature (n, f) for edits of the given tasks."""
        start = self.intercept + np.array([self.offsets.get(task, 0.0) for task in tasks])
        slopes = np.array([self.slopes.get(task, self.slope) for task in tasks])
        return start, np.column_stack([slopes, np.tile(self.weights, (len(tasks), 1))])


class Problem:
    """The normal equations of one table of edits, solved for any number of penalties."""

    def __init__(self, features: FloatArray, rising: Sequence[bool], tasks: Sequence[str], target: FloatArray) -> None:
        """Take (n, f) standardised features, (f,) whether each may only rise, (n,) tasks and (n,) targets."""
        self._tasks = sorted(set(tasks))
        self._features = features.shape[1]
        columns, self._sign = _columns(features, rising, tasks, self._tasks)
        self._centre, self._mean = columns.mean(axis=0), float(target.mean())
        columns = columns - self._centre
        self._gram = columns.T @ columns
        self._moment = columns.T @ (target - self._mean)

    def solve(self, penalty: Penalty) -> LinearFit:
        """Coefficients of least penalised squared error."""
        free = np.arange(len(self._gram) if penalty.shrinkage is not None else 1 + 2 * self._pooled)
        gram = (self._gram + self._penalty_matrix(penalty))[np.ix_(free, free)]
        # Each column without a direction is split into a rising and a falling copy, so that all unknowns are >= 0.
        split = np.flatnonzero(self._sign[free] == 0)
        expand = np.hstack([np.eye(len(gram)), -np.eye(len(gram))[:, split]])
        factor = np.linalg.cholesky(gram)
        unknowns, _ = nnls(factor.T @ expand, np.linalg.solve(factor, self._moment[free]), maxiter=30 * expand.shape[1])
        solution = np.zeros(len(self._gram))
        solution[free] = expand @ unknowns
        return self._unpack(solution)

    def _penalty_matrix(self, penalty: Penalty) -> FloatArray:
        """Quadratic form of the penalty over [b, s_1.., u_1.., w_1..]; one task has b alone."""
        count = self._pooled
        size = 1 + 2 * count + self._features - 1
        matrix = np.eye(size) * _JITTER
        slopes, offsets, weights = (
            np.arange(1, 1 + count),
            np.arange(1 + count, 1 + 2 * count),
            np.arange(1 + 2 * count, size),
        )
        matrix[weights, weights] += penalty.shrinkage or 0.0
        matrix[offsets, offsets] += penalty.pooling
        matrix[slopes, slopes] += penalty.pooling
        matrix[0, slopes] -= penalty.pooling
        matrix[slopes, 0] -= penalty.pooling
        matrix[0, 0] += penalty.pooling * count
        return matrix

    def _unpack(self, solution: FloatArray) -> LinearFit:
        count = self._pooled
        slopes, offsets = solution[1 : 1 + count], solution[1 + count : 1 + 2 * count]
        names = self._tasks if count else []
        return LinearFit(
            intercept=self._mean - float(self._centre @ solution),
            slope=float(solution[0]),
            weights=tuple(solution[1 + 2 * count :].tolist()),
            offsets=dict(zip(names, offsets.tolist(), strict=True)),
            slopes=dict(zip(names, slopes.tolist(), strict=True)),
        )

    @property
    def _pooled(self) -> int:
        return len(self._tasks) if len(self._tasks) > 1 else 0


def _columns(
    features: FloatArray, rising: Sequence[bool], tasks: Sequence[str], names: Sequence[str]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Design (n, p) of [b, s_1.., u_1.., w_1..] and the sign (p,) of each: 1 for >= 0, 0 for free."""
    anchor, rest = features[:, :1], features[:, 1:]
    member = np.array([[float(task == name) for name in names] for task in tasks])
    if len(names) == 1:
        design, signs = [anchor, rest], [1]
    else:
        # Tasks carry the anchor; the common slope b meets the data only through the pull of the slopes to it.
        design, signs = (
            [np.zeros_like(anchor), anchor * member, member, rest],
            [1] * (1 + len(names)) + [0] * len(names),
        )
    return np.hstack(design), np.array(signs + [int(flag) for flag in rising[1:]], dtype=np.int64)
