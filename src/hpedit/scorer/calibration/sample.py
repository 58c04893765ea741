"""What the families of calibration models share: the edits they are fitted on, and what a fitted model does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.stats.bootstrap import FloatArray, IntArray

Setting = Mapping[str, float | None]
"""How a family is to be fitted; JSON values."""

_SOFT = 0.25
"""Width of the zone at both ends of the scale in which predictions are bent in rather than cut off, which would tie
edits that the judge tells apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rated edits as a model is fitted on them."""

    answers: FloatArray
    """(n, f) without NaN; the first is the judge's own overall score."""
    rising: tuple[bool, ...]
    """(f,) whether an answer may only count in favour."""
    derived: tuple[bool, ...]
    """(f,) whether an answer is a function of the others, such as an overall score."""
    tasks: list[str]
    target: FloatArray
    """(n,) mean rating, 0 to 5."""


class Model(Protocol):
    """A fitted model: scores (n,) in 0 to 5 of answers (n, f) without NaN; an unknown task is an average one."""

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """Scores (n,)."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """A way to fit: its settings from the simplest to the most flexible, and models of a sample in each setting."""

    settings: Callable[[Sample], list[Setting]]
    fit: Callable[[Sample, Sequence[Setting]], list[Model]]
    read: Callable[[Mapping[str, Any]], Model]


def standardise(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each column; the deviation is 1 for one that does not vary."""
    varies = np.ptp(columns, axis=0) > 0
    return columns.mean(axis=0), np.where(varies, columns.std(axis=0), 1.0)


def task_index(tasks: Sequence[str], names: Sequence[str]) -> IntArray:
    """Position (n,) of each task among ``names``; the number of names for a task that is not among them."""
    position = {name: number for number, name in enumerate(names)}
    return np.array([position.get(task, len(names)) for task in tasks], dtype=np.int64)


def bend(values: FloatArray) -> FloatArray:
    """Strictly rising map of the line into the scale; the identity but for the last quarter at either end."""
    low, high = MIN_SCORE + _SOFT, MAX_SCORE - _SOFT
    # The clips only keep exp from overflowing on the side that is not selected.
    foot = MIN_SCORE + _SOFT * np.exp(np.minimum(values - low, 0.0) / _SOFT)
    head = MAX_SCORE - _SOFT * np.exp(np.minimum(high - values, 0.0) / _SOFT)
    return np.where(values < low, foot, np.where(values > high, head, values))
