"""Several judges in one scorer.

    score = intercept + sum_j w_j score_j,   w_j >= 0, bent into the scale

over the judges' calibrated scores. Judges without signal are left out. The others are added one by one, the most
helpful first, and `selection.fewest` decides how many are kept: a judge that does not clearly help gets no weight.
A judge that has no score for an edit is replaced by what is expected given the others, also those without weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from hpedit.scorer.calibration.imputation import Filling, fit_filling
from hpedit.scorer.calibration.sample import bend
from hpedit.scorer.calibration.selection import fewest, folds
from hpedit.stats.bootstrap import FloatArray


@dataclass(frozen=True, slots=True)
class Blend:
    """How much each judge counts."""

    judges: tuple[int, ...]
    """Positions of the judges that can stand in for one another; never empty."""
    filling: Filling
    """Of their scores."""
    intercept: float
    weights: tuple[float, ...]
    """(len(judges),), not all 0."""

    def predict(self, scores: FloatArray, variances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and variance (n,) from the judges' own (n, j); NaN where none of `judges` has a score."""
        own = scores[:, list(self.judges)]
        mean, variance = self.filling.predict(lambda values, _: self._mean(values), own, [""] * len(own))
        open_ = np.nan_to_num(variances[:, list(self.judges)], nan=0.0) @ np.array(self.weights) ** 2
        return mean, variance + open_

    def _mean(self, scores: FloatArray) -> FloatArray:
        mean = self.intercept + scores @ np.array(self.weights)
        # One judge's own score is on the scale; only what stands in for it may not be.
        return np.clip(mean, 0.0, 5.0) if self.single else bend(mean)

    @property
    def single(self) -> bool:
        """Whether one judge's score is taken as it is."""
        return self.intercept == 0 and sorted(self.weights)[-1] == 1 and np.count_nonzero(self.weights) == 1

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Blend:
        """Inverse of `dataclasses.asdict`."""
        return cls(tuple(data["judges"]), Filling.from_json(data["filling"]), data["intercept"], tuple(data["weights"]))


def fit_blend(scores: FloatArray, ok: Sequence[bool], target: FloatArray, sources: Sequence[str]) -> Blend:
    """Choose judges and their weights.

    Args:
        scores: (n, j), each made by a model that was fitted without the edit's photo, NaN = unscorable.
        ok: (j,) whether a judge has signal; if none has, the one that errs least stands alone.
        target: (n,) mean ratings.
        sources: (n,) photo ids.
    """
    usable = [judge for judge, sound in enumerate(ok) if sound] or [_best(scores, range(scores.shape[1]), target)]
    rows = np.flatnonzero(~np.isnan(scores[:, usable]).all(axis=1))
    own, rated = scores[rows][:, usable], target[rows]
    filling = fit_filling(own)
    names = [sources[row] for row in rows.tolist()]
    path: list[tuple[int, ...]] = [(_best(own, range(len(usable)), rated),)]
    filled = filling.fill(own)
    errors, tried = [_held_out_error(filled, path[0], rated, names)], [0]
    while len(path[-1]) < len(usable):
        left = [judge for judge in range(len(usable)) if judge not in path[-1]]
        tables = {judge: _held_out_error(filled, (*path[-1], judge), rated, names) for judge in left}
        best = min(left, key=lambda judge: float(tables[judge].mean()))
        path.append((*path[-1], best))
        errors.append(tables[best])
        tried.append(len(left))
    chosen = path[fewest(errors, names, tried)]
    if len(chosen) == 1:  # its score is calibrated already
        return Blend(tuple(usable), filling, 0.0, tuple(float(judge in chosen) for judge in range(len(usable))))
    intercept, weights = _weigh(filled, chosen, rated)
    return Blend(tuple(usable), filling, intercept, tuple(weights.tolist()))


def _best(scores: FloatArray, judges: Sequence[int], target: FloatArray) -> int:
    """The judge that explains most of the ratings, of those that it could score."""

    def unexplained(judge: int) -> float:
        known = ~np.isnan(scores[:, judge])
        error = np.mean((scores[known, judge] - target[known]) ** 2) if known.any() else np.inf
        return float(error / max(float(np.var(target[known])) if known.any() else 1.0, 1e-12))

    return min(judges, key=unexplained)


def _weigh(scores: FloatArray, judges: Sequence[int], target: FloatArray) -> tuple[float, FloatArray]:
    """Intercept and weights (j,) of least squares."""
    weights = np.zeros(scores.shape[1])
    own = scores[:, list(judges)]
    weights[list(judges)], _ = nnls(own - own.mean(axis=0), target - target.mean())
    return float(target.mean() - scores.mean(axis=0) @ weights), weights


def _held_out_error(
    scores: FloatArray, judges: Sequence[int], target: FloatArray, sources: Sequence[str]
) -> FloatArray:
    """Squared error (n,) of each edit by weights fitted without its photo."""
    result = np.zeros(len(target))
    for train, test in folds(sources, np.arange(len(target))):
        intercept, weights = _weigh(scores[train], judges, target[train])
        result[test] = bend(intercept + scores[test] @ weights) - target[test]
    return result**2
