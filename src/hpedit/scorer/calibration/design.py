"""From answers to the columns of a linear model: a curve for the first one, one unit for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.scorer.calibration.sample import standardise
from hpedit.scorer.evaluation.statistics import FloatArray

_CURVE_QUANTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Design:
    """How to make columns of answers; every statistic is of the edits that it was fitted on."""

    knots: tuple[float, ...]
    """Of the curve of the first answer, rising; fewer than two = no curve."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    """Mean and deviation of the columns; the deviation is 1 for a column that does not vary."""

    def transform(self, answers: FloatArray) -> FloatArray:
        """Columns (n, p) of mean 0 and variance 1 in training."""
        columns: FloatArray = (_columns(answers, self.knots) - np.array(self.centre)) / np.array(self.scale)
        return columns

    @property
    def ramps(self) -> int:
        """Number of columns that are pieces of the curve."""
        return max(0, len(self.knots) - 1)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Inverse of `dataclasses.asdict`."""
        return cls(**{key: tuple(value) for key, value in data.items()})


def fit_design(answers: FloatArray, curved: bool) -> Design:
    """Fit to answers (n, f) without NaN; ``curved`` adds ramps of the first one, a piecewise-linear curve."""
    knots = np.unique(np.quantile(answers[:, 0], (0.0, *_CURVE_QUANTILES, 1.0))) if curved else np.empty(0)
    centre, scale = standardise(_columns(answers, knots.tolist()))
    return Design(tuple(knots.tolist()), tuple(centre.tolist()), tuple(scale.tolist()))


def _columns(answers: FloatArray, knots: Sequence[float]) -> FloatArray:
    """Answers, and columns that rise from 0 to the knots' distance between two neighbouring knots."""
    low, high = np.array(knots[:-1]), np.array(knots[1:])
    return np.hstack([answers, np.clip(answers[:, :1], low, high) - low])
