"""Fitted calibration models, which map a judge's answers to a score: linear, ordinal, boosted trees, question weights.

They only predict; `linear`, `ordinal`, `trees` and `question_stage` fit them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import expit

from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.stats.bootstrap import FloatArray

TREE_DEPTH = 2
_SOFT = 0.25
"""Width of the zone at both ends of the scale in which predictions are bent in rather than cut off, which would tie
edits that the judge tells apart."""


def soft_clip(values: FloatArray) -> FloatArray:
    """Strictly rising map of the line into the scale; the identity but for the last quarter at either end."""
    low, high = MIN_SCORE + _SOFT, MAX_SCORE - _SOFT
    # The clips only keep exp from overflowing on the side that is not selected.
    foot = MIN_SCORE + _SOFT * np.exp(np.minimum(values - low, 0.0) / _SOFT)
    head = MAX_SCORE - _SOFT * np.exp(np.minimum(high - values, 0.0) / _SOFT)
    return np.where(values < low, foot, np.where(values > high, head, values))


@dataclass(frozen=True, slots=True)
class Design:
    """Design matrix of the linear model; every statistic is of the edits that it was fitted on."""

    knots: tuple[float, ...]
    """Of the curve of the first answer, rising; fewer than two = no curve."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    """Mean and deviation of the columns; the deviation is 1 for a column that does not vary."""

    def transform(self, answers: FloatArray) -> FloatArray:
        """Columns (n, p) of mean 0 and variance 1 in training."""
        columns: FloatArray = (with_ramps(answers, self.knots) - np.array(self.centre)) / np.array(self.scale)
        return columns

    @property
    def ramps(self) -> int:
        """Number of columns that are pieces of the curve."""
        return max(0, len(self.knots) - 1)


def with_ramps(answers: FloatArray, knots: Sequence[float]) -> FloatArray:
    """Answers, and columns that rise from 0 to the knots' distance between two neighbouring knots."""
    low, high = np.array(knots[:-1]), np.array(knots[1:])
    return np.hstack([answers, np.clip(answers[:, :1], low, high) - low])


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Coefficients on standardised features."""

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


@dataclass(frozen=True, slots=True)
class LinearModel:
    """The fitted linear family: design matrix and coefficients."""

    design: Design
    fit: LinearFit

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """Scores (n,) in 0 to 5 of answers (n, f) without NaN; a task that was not fitted is an average one."""
        start, coefficients = self.fit.coefficients(tasks)
        return soft_clip(start + (self.design.transform(answers) * coefficients).sum(axis=1))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LinearModel:
        """Inverse of `dataclasses.asdict`."""
        return cls(Design(**data["design"]), LinearFit(**data["fit"]))


@dataclass(frozen=True, slots=True)
class OrdinalModel:
    """The fitted ordinal family, a cumulative-link model; for the formula see `ordinal`."""

    columns: tuple[int, ...]
    """Positions of the answers that enter."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    cuts: tuple[float, ...]
    slope: float
    weights: tuple[float, ...]
    offsets: dict[str, float]
    slopes: dict[str, float]

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """Scores (n,) in 0 to 5 of answers (n, f) without NaN; a task that was not fitted is an average one."""
        z = (answers[:, self.columns] - np.array(self.centre)) / np.array(self.scale)
        offsets = np.array([self.offsets.get(task, 0.0) for task in tasks])
        slopes = np.array([self.slopes.get(task, self.slope) for task in tasks])
        line = offsets + slopes * z[:, 0] + z[:, 1:] @ np.array(self.weights)
        score: FloatArray = expit(line[:, None] - np.array(self.cuts)).sum(axis=1)
        return score

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OrdinalModel:
        """Inverse of `dataclasses.asdict`."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Tree:
    """A binary tree in arrays, as in scikit-learn: node 0 is the root, ``feature`` -1 a leaf."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]

    def predict(self, answers: FloatArray) -> FloatArray:
        """Value (n,) of the leaf of each row; answers are compared in single precision, as they were in fitting."""
        feature, threshold = np.array(self.feature), np.array(self.threshold)
        left, right = np.array(self.left), np.array(self.right)
        node, rows = np.zeros(len(answers), dtype=np.int64), np.arange(len(answers))
        single = answers.astype(np.float32)
        for _ in range(TREE_DEPTH):
            inner = feature[node] >= 0
            below = single[rows, feature[node]] <= threshold[node]
            node = np.where(inner, np.where(below, left[node], right[node]), node)
        value: FloatArray = np.array(self.value)[node]
        return value


@dataclass(frozen=True, slots=True)
class TreesModel:
    """The fitted trees family: boosted trees on a logit scale."""

    columns: tuple[int, ...]
    """Positions of the answers that enter."""
    start: float
    starts: dict[str, float]
    trees: tuple[Tree, ...]

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """Scores (n,) in 0 to 5 of answers (n, f) without NaN; a task that was not fitted is an average one."""
        own = answers[:, self.columns]
        line = np.array([self.starts.get(task, self.start) for task in tasks])
        for tree in self.trees:
            line = line + tree.predict(own)
        score: FloatArray = MAX_SCORE * expit(line)
        return score

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TreesModel:
        """Inverse of `dataclasses.asdict`."""
        return cls(**{**data, "trees": tuple(Tree(**tree) for tree in data["trees"])})


Model = LinearModel | OrdinalModel | TreesModel
MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {"linear": LinearModel, "ordinal": OrdinalModel, "trees": TreesModel}
)
"""The class of each family's fitted models, by the family's name in calibration.json."""


@dataclass(frozen=True, slots=True)
class QuestionWeights:
    """The reasoning questions kept for one task, and how far each moves the base score; see `question_stage`."""

    names: tuple[str, ...]
    start: tuple[float, ...]
    slope: tuple[float, ...]
    """Of the answer that is expected at score m: start + slope * m."""
    scale: tuple[float, ...]
    weights: tuple[float, ...]

    def add(self, base: FloatArray, answers: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and the variance (n,) left by questions without answer; answers (n, k) in the order of names."""
        said = self.surprise(base, answers)
        missing = np.isnan(said)
        weights = np.array(self.weights)
        change = np.where(missing, 0.0, said) @ weights
        # Slowed down before the ends of the scale; exactly the base score without a change.
        room = np.where(change > 0, MAX_SCORE - base, base)
        moved = base + room * np.tanh(np.divide(change, room, out=np.zeros_like(room), where=room > 0))
        return moved, missing @ weights**2

    def surprise(self, base: FloatArray, answers: FloatArray) -> FloatArray:
        """(n, k) how far each answer is from what is expected at the base score, in standard deviations."""
        surprise: FloatArray = (answers - np.array(self.start) - np.outer(base, self.slope)) / np.array(self.scale)
        return surprise


@dataclass(frozen=True, slots=True)
class QuestionStage:
    """The questions kept, by task; a task that is not in it keeps the base score."""

    tasks: dict[str, QuestionWeights]

    def predict(
        self, base: FloatArray, answers: FloatArray, names: Sequence[str], tasks: Sequence[str]
    ) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and added variance (n,) from base scores (n,) and answers (n, m) to the questions ``names``."""
        mean, variance = base.copy(), np.zeros(len(base))
        for task, own in self.tasks.items():
            rows = np.flatnonzero([name == task for name in tasks])
            columns = [list(names).index(name) for name in own.names]
            mean[rows], variance[rows] = own.add(base[rows], answers[rows][:, columns])
        return mean, variance
