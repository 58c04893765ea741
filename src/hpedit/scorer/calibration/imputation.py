"""Imputation of missing answers: their conditional expectation given the observed ones, and the variance that remains.

Answers are taken as jointly normal. A prediction for an edit with gaps is the average of the model over points that
have the mean and covariance of what is missing (Julier & Uhlmann 1997), and their spread is added to its variance: it
works for any model, and a model that makes little of an answer loses little by not having it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpedit.stats.bootstrap import FloatArray, IntArray

Predict = Callable[[FloatArray, Sequence[str]], FloatArray]
"""``(answers (m, f) without NaN, tasks (m,)) -> scores (m,)``."""

_RIDGE = 1e-3
"""Share of its own variance added to each answer's before inverting: some answers are functions of others."""
_NEGLIGIBLE = 1e-9
"""Directions with a smaller share of the variance than this are rounding."""


@dataclass(frozen=True, slots=True)
class Imputation:
    """Mean and covariance of the answers of the edits it was fitted on."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def impute(self, answers: FloatArray) -> FloatArray:
        """Answers (n, f) with missing ones imputed by their expectation; a row without any answer stays NaN."""
        return self._expect(answers)[0]

    def predict(self, model: Predict, answers: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Expectation (n,) of the model's score and the variance (n,) that gaps leave; NaN without any answer."""
        imputed, covariances = self._expect(answers)
        rows, points, names = [], [], []
        for row, points_of_row in ((row, _points(imputed[row], own)) for row, own in covariances.items()):
            rows += [row] * len(points_of_row)
            points.append(points_of_row)
            names += [tasks[row]] * len(points_of_row)
        known = np.flatnonzero(~np.isnan(imputed).any(axis=1))
        mean, variance = np.full(len(answers), np.nan), np.full(len(answers), np.nan)
        if len(known):
            mean[known] = model(imputed[known], [tasks[row] for row in known.tolist()])
            variance[known] = 0.0
        if points:
            scores, owner = model(np.concatenate(points), names), np.array(rows)
            for row in covariances:
                own = scores[owner == row]
                mean[row], variance[row] = own.mean(), own.var()
        return mean, variance

    def _expect(self, answers: FloatArray) -> tuple[FloatArray, dict[int, FloatArray]]:
        """Imputed answers, and the covariance (f, f) that remains of each row with gaps."""
        missing = np.isnan(answers)
        imputed, covariances = answers.copy(), {}
        for row in np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1)).tolist():
            gap, known = np.flatnonzero(missing[row]), np.flatnonzero(~missing[row])
            imputed[row, gap], own = self._given(answers[row, known], gap, known)
            covariances[row] = np.zeros((len(missing[row]), len(missing[row])))
            covariances[row][np.ix_(gap, gap)] = own
        return imputed, covariances

    def _given(self, values: FloatArray, gap: IntArray, known: IntArray) -> tuple[FloatArray, FloatArray]:
        """Conditional mean and covariance of the answers ``gap`` given the ``values`` of the answers ``known``."""
        mean, covariance = np.array(self.mean), np.array(self.covariance)
        own = covariance[np.ix_(known, known)]
        own = own + np.diag(_RIDGE * np.diag(own) + 1e-12)
        gain = np.linalg.solve(own, covariance[np.ix_(known, gap)]).T
        rest = covariance[np.ix_(gap, gap)] - gain @ covariance[np.ix_(known, gap)]
        return mean[gap] + gain @ (values - mean[known]), rest


def fit_imputation(answers: FloatArray) -> Imputation:
    """Fit to answers (n, f), NaN = missing.

    Moments are those of the edits with every answer; without enough of them, answer by answer. A column without any
    value is taken as a constant: nothing is known of it, and no model makes anything of it.
    """
    complete = answers[~np.isnan(answers).any(axis=1)]
    if len(complete) > 2 * answers.shape[1]:
        mean, covariance = complete.mean(axis=0), np.atleast_2d(np.cov(complete, rowvar=False))
    else:
        answers = np.where(np.isnan(answers).all(axis=0), 0.0, answers)
        mean, covariance = np.nanmean(answers, axis=0), np.diag(np.nanvar(answers, axis=0))
    return Imputation(tuple(mean.tolist()), tuple(tuple(row) for row in covariance.tolist()))


def _points(centre: FloatArray, covariance: FloatArray) -> FloatArray:
    """Points (2 k, f), two for each of the k directions that are open, with that mean and covariance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _NEGLIGIBLE * max(values[-1], 1e-12)
    steps = vectors[:, kept].T * np.sqrt(kept.sum() * values[kept])[:, None]
    return np.concatenate([centre + steps, centre - steps]) if len(steps) else centre[None]
