"""Fit family "ordinal": a cumulative-link model with non-negative weights, shared between tasks by partial pooling.

For an edit of task k with standardised answers z (the first one's slope may differ by task):

    P(rating > l) = sigmoid(u_k + s_k z_0 + sum_j w_j z_j - c_l),   l = 0 .. 4,   c_0 < c_1 < .. < c_4
    score = sum_l P(rating > l)

(McCullagh 1980). A mean rating between two steps counts as the two in proportion. What is minimised is the negative
log likelihood + lasso * (b + sum w) + pooling / 2 * sum (u_k^2 + (s_k - b)^2), over s, b, w >= 0. With one task
s_k = b and u_k = 0. The lasso leaves few answers standing, which is what a judge's overlapping answers need; the
logistic curve fits people who give most edits a zero, where a line does not. An overall score that is made of the
other answers is left out, and an answer without a direction counts with either sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from hpedit.records import MAX_SCORE
from hpedit.scorer.calibration.calibration import Setting
from hpedit.scorer.calibration.fitted_models import Model, OrdinalModel
from hpedit.scorer.calibration.sample import Family, RatedSample, standardise, task_index
from hpedit.stats.bootstrap import FloatArray, IntArray

_LASSOS = (10.0, 5.0, 2.0, 0.5)
_POOLINGS = (50.0, 5.0)
"""In units of information: an edit whose score is open carries about a quarter."""
_RIDGE = 0.1
"""Keeps weights finite where ratings are separable."""
_STEP_RIDGE = 0.01
"""Keeps steps finite that nobody used."""
_STEPS = int(MAX_SCORE)


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """Minimise over [c_0, log steps (4), b, s (k), u (k), w (p)]; without tasks k = 0."""

    anchor: FloatArray
    rest: FloatArray
    task: IntArray
    tasks: int
    mass: FloatArray
    start: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        share = np.clip(np.cumsum(self.mass.sum(axis=0))[:-1] / len(self.mass), 0.02, 0.98)
        cuts = np.log(share / (1 - share)) + np.arange(_STEPS) * 1e-2
        steps = np.log(np.maximum(np.diff(cuts), 1e-2))
        rest = np.full(1 + self.tasks, 0.1), np.zeros(self.tasks), np.full(self.rest.shape[1], 0.1)
        object.__setattr__(self, "start", np.concatenate([cuts[:1], steps, *rest]))

    def solve(self, lasso: float, pooling: float, start: FloatArray) -> FloatArray:
        free, positive = (None, None), (0.0, None)
        bounds = [free] + [(-8.0, 4.0)] * (_STEPS - 1) + [positive] * (1 + self.tasks) + [free] * self.tasks
        bounds += [positive] * self.rest.shape[1]
        found = minimize(
            self.loss, start, (lasso, pooling), jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 300}
        )
        solution: FloatArray = found.x
        return solution

    def unpack(self, x: FloatArray) -> tuple[FloatArray, float, FloatArray, FloatArray, FloatArray]:
        """Cuts, b, s, u, w."""
        cuts = x[0] + np.concatenate([[0.0], np.cumsum(np.exp(x[1:_STEPS]))])
        s, u, w = np.split(x[_STEPS + 1 :], [self.tasks, 2 * self.tasks])
        return cuts, float(x[_STEPS]), s, u, w

    def loss(self, x: FloatArray, lasso: float, pooling: float) -> tuple[float, FloatArray]:
        """Value and gradient."""
        cuts, b, s, u, w = self.unpack(x)
        slope, offset = (s[self.task], u[self.task]) if self.tasks else (b, 0.0)
        below = expit(cuts - (offset + slope * self.anchor + self.rest @ w)[:, None])
        ends = np.zeros((len(below), 1)), np.ones((len(below), 1))
        chance = np.maximum(np.diff(np.hstack([ends[0], below, ends[1]]), axis=1), 1e-12)
        pull = (-self.mass / chance)[:, :-1] + (self.mass / chance)[:, 1:]
        pull *= below * (1 - below)
        value = -(self.mass * np.log(chance)).sum() + lasso * (b + w.sum())
        value += _RIDGE / 2 * (b**2 + w @ w) + _STEP_RIDGE / 2 * (x[1:_STEPS] ** 2).sum()
        value += pooling / 2 * (u @ u + ((s - b) ** 2).sum())
        by_cut, by_line = pull.sum(axis=0), -pull.sum(axis=1)
        steps = np.cumsum(by_cut[::-1])[::-1][1:] * np.exp(x[1:_STEPS]) + _STEP_RIDGE * x[1:_STEPS]
        count = {"minlength": self.tasks}
        by_s = np.bincount(self.task, by_line * self.anchor, **count)[: self.tasks] + pooling * (s - b)
        by_u = np.bincount(self.task, by_line, **count)[: self.tasks] + pooling * u
        by_b = lasso + _RIDGE * b - pooling * (s - b).sum()
        by_b += 0.0 if self.tasks else by_line @ self.anchor
        by_w = self.rest.T @ by_line + lasso + _RIDGE * w
        return float(value), np.concatenate([[by_cut.sum()], steps, [by_b], by_s, by_u, by_w])


def ordinal_grid(sample: RatedSample) -> list[Setting]:
    """Pooling and lasso; pooling means nothing with one task."""
    poolings = _POOLINGS if len(set(sample.tasks)) > 1 else _POOLINGS[:1]
    return [{"pooling": pooling, "lasso": lasso} for pooling, lasso in product(poolings, _LASSOS)]


def fit_ordinal(sample: RatedSample, chosen: Sequence[Setting]) -> list[Model]:
    """Fit each setting."""
    columns = _columns_of(sample)
    centre, scale = standardise(sample.answers[:, columns])
    z = (sample.answers[:, columns] - centre) / scale
    either = [number for number, column in enumerate(columns) if number and not sample.rising[column]]
    names = sorted(set(sample.tasks)) if len(set(sample.tasks)) > 1 else []
    problem = _Likelihood(
        anchor=z[:, 0],
        rest=np.hstack([z[:, 1:], -z[:, either]]),
        task=task_index(sample.tasks, names),
        tasks=len(names),
        mass=_masses(sample.target),
    )
    models: list[Model] = []
    solution = problem.start
    for setting in chosen:
        solution = problem.solve(setting["lasso"] or 0.0, setting["pooling"] or 0.0, solution)
        cuts, b, s, u, w = problem.unpack(solution)
        weights = w[: z.shape[1] - 1].copy()
        weights[np.array(either, dtype=np.int64) - 1] -= w[z.shape[1] - 1 :]
        models.append(
            OrdinalModel(
                tuple(columns),
                tuple(centre.tolist()),
                tuple(scale.tolist()),
                tuple(cuts.tolist()),
                b,
                tuple(weights.tolist()),
                dict(zip(names, u.tolist(), strict=True)),
                dict(zip(names, s.tolist(), strict=True)),
            )
        )
    return models


def _columns_of(sample: RatedSample) -> list[int]:
    """Answers that enter, the anchor first."""
    rest = range(1, len(sample.rising))
    keep = not sample.derived[0] or not any(sample.rising[column] for column in rest)
    return [*([0] if keep else []), *rest]


def _masses(target: FloatArray) -> FloatArray:
    """(n, 6) share of each whole score in a mean rating that lies between two of them."""
    low = np.minimum(np.floor(target), _STEPS - 1).astype(np.int64)
    mass = np.zeros((len(target), _STEPS + 1))
    rows = np.arange(len(target))
    mass[rows, low + 1] = target - low
    mass[rows, low] = 1 - (target - low)
    return mass


FAMILY = Family(ordinal_grid, fit_ordinal)
