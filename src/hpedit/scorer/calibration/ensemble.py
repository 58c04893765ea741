"""Fit the ensemble: several judges in one score, by non-negative least squares over their calibrated scores.

    score = intercept + sum_j w_j score_j,   w_j >= 0, soft-clipped to the scale

over the judges' calibrated scores. Judges without signal are left out. The others are added one by one, the most
helpful first, and `base_selection.fewest` decides how many are kept: a judge that does not clearly help gets no weight.
A missing score of a judge is imputed from the others' scores, also those without weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from hpedit.scorer.calibration.base_selection import fewest, folds
from hpedit.scorer.calibration.calibration import Ensemble
from hpedit.scorer.calibration.fitted_models import soft_clip
from hpedit.scorer.calibration.imputation import fit_imputation
from hpedit.stats.bootstrap import FloatArray


def fit_ensemble(scores: FloatArray, ok: Sequence[bool], target: FloatArray, sources: Sequence[str]) -> Ensemble:
    """Choose the judges of an ensemble and fit their weights.

    Args:
        scores: (n, j), each made by a model that was fitted without the edit's photo, NaN = unscorable.
        ok: (j,) whether a judge has signal; if none has, the one that errs least stands alone.
        target: (n,) mean ratings.
        sources: (n,) photo ids.
    """
    usable = [judge for judge, sound in enumerate(ok) if sound] or [_best(scores, range(scores.shape[1]), target)]
    rows = np.flatnonzero(~np.isnan(scores[:, usable]).all(axis=1))
    own, rated = scores[rows][:, usable], target[rows]
    imputation = fit_imputation(own)
    names = [sources[row] for row in rows.tolist()]
    path: list[tuple[int, ...]] = [(_best(own, range(len(usable)), rated),)]
    imputed = imputation.impute(own)
    errors, tried = [_held_out_error(imputed, path[0], rated, names)], [0]
    while len(path[-1]) < len(usable):
        left = [judge for judge in range(len(usable)) if judge not in path[-1]]
        tables = {judge: _held_out_error(imputed, (*path[-1], judge), rated, names) for judge in left}
        best = min(left, key=lambda judge: float(tables[judge].mean()))
        path.append((*path[-1], best))
        errors.append(tables[best])
        tried.append(len(left))
    chosen = path[fewest(errors, names, tried)]
    if len(chosen) == 1:  # its score is calibrated already
        return Ensemble(tuple(usable), imputation, 0.0, tuple(float(judge in chosen) for judge in range(len(usable))))
    intercept, weights = _weigh(imputed, chosen, rated)
    return Ensemble(tuple(usable), imputation, intercept, tuple(weights.tolist()))


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
        result[test] = soft_clip(intercept + scores[test] @ weights) - target[test]
    return result**2
