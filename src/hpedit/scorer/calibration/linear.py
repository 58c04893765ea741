"""Fit family "linear": monotone ridge regression on the answers and, if it helps, on a curve of the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hpedit.scorer.calibration.calibration import Setting
from hpedit.scorer.calibration.fitted_models import Design, LinearFit, LinearModel, Model, with_ramps
from hpedit.scorer.calibration.sample import Family, RatedSample, standardise
from hpedit.stats.bootstrap import FloatArray

_CURVE_QUANTILES = (0.2, 0.4, 0.6, 0.8)


def fit_design(answers: FloatArray, curved: bool) -> Design:
    """Fit to answers (n, f) without NaN; ``curved`` adds ramps of the first one, a piecewise-linear curve."""
    knots = np.unique(np.quantile(answers[:, 0], (0.0, *_CURVE_QUANTILES, 1.0))) if curved else np.empty(0)
    centre, scale = standardise(with_ramps(answers, knots.tolist()))
    return Design(tuple(knots.tolist()), tuple(centre.tolist()), tuple(scale.tolist()))


_JITTER = 1e-6
"""Added to every penalty: keeps the normal equations positive definite when features repeat one another."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """Ridge penalties of the linear family, in units of edits (each feature has variance 1)."""

    shrinkage: float | None
    """> 0. Pull of the weights beside the anchor to 0; None: they are 0, and edits that the judge ties stay tied."""
    pooling: float
    """> 0. Pull of a task's offset and slope to those of all tasks."""


class NormalEquations:
    """The normal equations of monotone ridge regression, solved for any number of penalties."""

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


_SHRINKAGES = (None, 1000.0, 300.0, 100.0, 30.0, 10.0)
_POOLINGS = (1000.0, 30.0, 5.0)
"""In edits: at 30, a task with 30 rated edits goes half of its own way."""


def linear_grid(sample: RatedSample) -> list[Setting]:
    """Curve, pooling and shrinkage; pooling means nothing with one task."""
    poolings = _POOLINGS if len(set(sample.tasks)) > 1 else _POOLINGS[:1]
    return [
        {"curved": curved, "pooling": pooling, "shrinkage": shrinkage}
        for curved, pooling, shrinkage in product((0.0, 1.0), poolings, _SHRINKAGES)
        if not (curved and shrinkage is None)
    ]


def fit_linear(sample: RatedSample, chosen: Sequence[Setting]) -> list[Model]:
    """Fit each setting; those with equal columns share the normal equations."""
    prepared: dict[bool, tuple[Design, NormalEquations]] = {}
    for curved in {bool(setting["curved"]) for setting in chosen}:
        design = fit_design(sample.answers, curved)
        columns, rising = design.transform(sample.answers), (*sample.rising, *[True] * design.ramps)
        prepared[curved] = design, NormalEquations(columns, rising, sample.tasks, sample.target)
    models: list[Model] = []
    for setting in chosen:
        design, problem = prepared[bool(setting["curved"])]
        pooling = setting["pooling"] or 0.0
        models.append(LinearModel(design, problem.solve(Penalty(setting["shrinkage"], pooling))))
    return models


FAMILY = Family(linear_grid, fit_linear)
