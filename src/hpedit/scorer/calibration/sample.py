"""What fitting a family of calibration models takes: the rated edits, and a grid of hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpedit.scorer.calibration.calibration import Setting
from hpedit.scorer.calibration.fitted_models import Model
from hpedit.scorer.calibration.imputation import Imputation
from hpedit.stats.bootstrap import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class RatedSample:
    """Rated edits and a judge's answers to its base questions."""

    answers: FloatArray
    """(n, f), NaN = missing, none in what a family is fitted on; the first is the judge's own overall score."""
    rising: tuple[bool, ...]
    """(f,) whether the score may only rise with an answer (monotonicity)."""
    derived: tuple[bool, ...]
    """(f,) whether an answer is a function of the others, such as an overall score."""
    tasks: list[str]
    target: FloatArray
    """(n,) mean rating, 0 to 5."""
    sources: list[str]

    def imputed(self, rows: IntArray, imputation: Imputation) -> RatedSample:
        """The given rows, with missing answers imputed."""
        tasks, sources = ([column[row] for row in rows.tolist()] for column in (self.tasks, self.sources))
        answers = imputation.impute(self.answers[rows])
        return RatedSample(answers, self.rising, self.derived, tasks, self.target[rows], sources)


@dataclass(frozen=True, slots=True)
class Family:
    """A way to fit: its settings from the simplest to the most flexible, and models of a sample in each setting."""

    grid: Callable[[RatedSample], list[Setting]]
    fit: Callable[[RatedSample, Sequence[Setting]], list[Model]]


def standardise(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each column; the deviation is 1 for one that does not vary."""
    varies = np.ptp(columns, axis=0) > 0
    return columns.mean(axis=0), np.where(varies, columns.std(axis=0), 1.0)


def task_index(tasks: Sequence[str], names: Sequence[str]) -> IntArray:
    """Position (n,) of each task among ``names``; the number of names for a task that is not among them."""
    position = {name: number for number, name in enumerate(names)}
    return np.array([position.get(task, len(names)) for task in tasks], dtype=np.int64)
