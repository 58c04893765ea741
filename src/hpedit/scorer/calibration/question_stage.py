"""Choose the reasoning questions that help, task by task, and fit by how much they move a score.

To the score m of the base prompt, the answers q_j in (0, 1) of the questions that are kept for a task add

    sum_j w_j (q_j - e_j(m)) / d_j,   w_j >= 0

where e_j(m) is what the answer is expected to be at that score (a line fitted to the task's edits, not falling) and d_j
the deviation from it: a question says what the base prompt did not. One that was not asked or can't be read adds
nothing, and w_j^2 to the variance. Weights are shrunk as by `SHRINKAGE` edits.

Questions are added one by one, each time the one that lowers the cross-validated error most; how many are kept is
decided by `base_selection.fewest`, so that with few ratings it is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hpedit.scorer.calibration.base_selection import fewest, folds
from hpedit.scorer.calibration.fitted_models import QuestionStage, QuestionWeights
from hpedit.stats.bootstrap import FloatArray, IntArray

SHRINKAGE = 10.0
MOST = 4
"""Questions kept for one task, at most."""
LEAST_EDITS = 25
"""Rated edits of a task below which no question is tried."""
_LEAST_SPREAD = 1e-3
"""A question whose answers deviate less from what is expected says nothing."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Rated edits of one task."""

    base: FloatArray
    """(n,) base score, made without the edit's photo."""
    answers: FloatArray
    names: tuple[str, ...]
    target: FloatArray
    sources: list[str]

    def fit(self, rows: IntArray, names: Sequence[str]) -> QuestionWeights:
        """Fit the given questions on ``rows``."""
        base = self.base[rows]
        answers = self.answers[rows][:, [self.names.index(name) for name in names]]
        lines = [_line(base, column) for column in answers.T]
        start, slope, scale = (tuple(line[number] for line in lines) for number in range(3))
        plain = QuestionWeights(tuple(names), start, slope, scale, (0.0,) * len(names))
        said = np.nan_to_num(plain.surprise(base, answers), nan=0.0)
        said[:, np.array(scale) <= _LEAST_SPREAD] = 0.0
        shrink = np.sqrt(SHRINKAGE) * np.eye(len(names))
        wanted = self.target[rows] - base
        weights, _ = nnls(np.vstack([said, shrink]), np.concatenate([wanted - wanted.mean(), np.zeros(len(names))]))
        fitted = QuestionWeights(plain.names, start, slope, scale, tuple(weights.tolist()))
        return _keep_rising(fitted, float(base.mean()))

    def held_out(self, names: Sequence[str]) -> FloatArray:
        """Score (n,) of each edit by weights fitted without its photo."""
        result = self.base.copy()
        if names:
            for train, test in folds(self.sources, np.arange(len(result))):
                own = self.answers[test][:, [self.names.index(name) for name in names]]
                result[test] = self.fit(train, names).add(self.base[test], own)[0]
        return result


def fit_questions(
    base: FloatArray,
    answers: FloatArray,
    names: Sequence[str],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    *,
    candidates: Mapping[str, Sequence[str]] | None = None,
    exclusive: Sequence[Collection[str]] = (),
) -> tuple[QuestionStage, FloatArray]:
    """Choose questions for each task and fit their weights.

    Args:
        base: (n,) base scores, each made by a model that was fitted without the edit's photo.
        answers: (n, m) answers to the questions, higher is better, NaN = not asked or unreadable.
        names: (m,) of the questions.
        tasks: (n,) task ids.
        target: (n,) mean ratings.
        sources: (n,) photo ids.
        candidates: questions to consider by task; all if None. Those answered for fewer than half of a task's edits
            are left out.
        exclusive: groups of which at most one is kept a task.

    Returns:
        The stage, and the scores (n,) it gives to photos it was not fitted on.
    """
    stages, held_out = {}, base.copy()
    for task in sorted(set(tasks)):
        rows = np.flatnonzero([name == task for name in tasks])
        own = _Task(base[rows], answers[rows], tuple(names), target[rows], [sources[row] for row in rows.tolist()])
        offered = names if candidates is None else [name for name in names if name in candidates.get(task, ())]
        kept = _choose(own, offered, exclusive)
        if kept:
            stages[task] = own.fit(np.arange(len(rows)), kept)
            held_out[rows] = own.held_out(kept)
    return QuestionStage(stages), held_out


def _choose(task: _Task, offered: Sequence[str], exclusive: Sequence[Collection[str]]) -> tuple[str, ...]:
    """Forward selection of questions, then the one-standard-error rule."""
    if len(task.target) < LEAST_EDITS:
        return ()
    answered = dict(zip(task.names, 2 * (~np.isnan(task.answers)).sum(axis=0) >= len(task.target), strict=True))
    left = sorted(name for name in offered if answered[name])
    path: list[tuple[str, ...]] = [()]
    errors, tried = [(task.base - task.target) ** 2], [0]
    while left and len(path) <= MOST:
        tables = {name: (task.held_out((*path[-1], name)) - task.target) ** 2 for name in left}
        best = min(left, key=lambda name: float(tables[name].mean()))
        path.append((*path[-1], best))
        errors.append(tables[best])
        tried.append(len(left))
        rivals = {name for group in exclusive if best in group for name in group}
        left = [name for name in left if name != best and name not in rivals]
    return path[fewest(errors, task.sources, tried)]


def _line(base: FloatArray, answers: FloatArray) -> tuple[float, float, float]:
    """Start and slope (>= 0) of the expected answer at a base score, and the deviation from it, 1 if there is none."""
    known = ~np.isnan(answers)
    if not known.any():
        return 0.0, 0.0, 1.0
    x, y = base[known], answers[known]
    spread = float(np.var(x))
    slope = max(0.0, float(np.cov(x, y, bias=True)[0, 1]) / spread) if spread > 0 else 0.0
    start = float(y.mean() - slope * x.mean())
    return start, slope, max(float(np.std(y - start - slope * x)), _LEAST_SPREAD)


def _keep_rising(own: QuestionWeights, centre: float) -> QuestionWeights:
    """Turn the lines about the mean base score so far that a better base score never lowers the sum."""
    pull = float(np.dot(own.weights, np.array(own.slope) / np.array(own.scale)))
    if pull <= 1.0:
        return own
    slope = tuple(value / pull for value in own.slope)
    start = tuple(a + (b - c) * centre for a, b, c in zip(own.start, own.slope, slope, strict=True))
    return QuestionWeights(own.names, start, slope, own.scale, own.weights)
