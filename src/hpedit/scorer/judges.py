"""What judges answer, question by question, and how it becomes features and an overall score of their own.

A rubric is a set of columns in a table of scores. The first feature is always the judge's own overall score on 0 to 5,
as its authors define it: the uncalibrated baseline, and the anchor of the calibration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from hpedit.scorer.statistics import FloatArray

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Features = tuple[tuple[str, ...], FloatArray]
"""Names (f,) and values (n, f), NaN = missing."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """The questions of one kind of judge."""

    required: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    """Lowest and highest answer to each question; those that are not required may be absent from a table."""
    features: Callable[[Mapping[str, FloatArray]], Features]
    """From answers (n,) by question to features."""


def parse_answer(text: str, scale: tuple[float, float]) -> tuple[float, str]:
    """Return the number in a cell and "", or NaN and the reason why there is none.

    Only a plain number on the scale is an answer; nothing is guessed from words, and nothing is clipped.
    """
    if not text:
        return np.nan, "no answer"
    if not _NUMBER.fullmatch(text):
        return np.nan, "not a number"
    value = float(text)
    if not scale[0] <= value <= scale[1]:
        return np.nan, f"not in {scale[0]:g} to {scale[1]:g}"
    return value, ""


def find_rubric(columns: Sequence[str]) -> Rubric | None:
    """Find the first rubric all of whose required questions are among ``columns``."""
    return next((rubric for rubric in RUBRICS.values() if set(rubric.required) <= set(columns)), None)


def _viescore(answers: Mapping[str, FloatArray]) -> Features:
    """VIEScore (arXiv 2312.14867): overall = sqrt(min(semantic) * min(quality)) on 0 to 10, here halved.

    The products stand beside it since people's overall mark is one too: an edit must succeed in both, and the judge's
    scale need not be theirs.
    """
    semantic = np.minimum(answers["edit_success"], answers["no_overedit"]) / 10
    quality = np.minimum(answers["naturalness"], answers["no_artifacts"]) / 10
    values = {
        "overall": 5 * np.sqrt(semantic * quality),
        "semantic": semantic,
        "quality": quality,
        **{name: answers[name] / 10 for name in _VIESCORE},
        "semantic*quality": semantic * quality,
        "semantic^2*quality": semantic**2 * quality,
        "semantic*quality^2": semantic * quality**2,
    }
    return tuple(values), np.column_stack(list(values.values()))


def _expectation(answers: Mapping[str, FloatArray]) -> Features:
    """Take the expectation over the probabilities of the answers 0 to 5, and what else a table gives of them."""
    names = tuple(name for name in _EXPECTATION if name in answers)
    return names, np.column_stack([answers[name] for name in names])


_VIESCORE = ("edit_success", "no_overedit", "naturalness", "no_artifacts")
_EXPECTATION: dict[str, tuple[float, float]] = {
    "expected": (0.0, 5.0),
    "spread": (0.0, 2.5),
    **{f"p{answer}": (0.0, 1.0) for answer in range(6)},
}

RUBRICS: Mapping[str, Rubric] = MappingProxyType(
    {
        "viescore": Rubric(_VIESCORE, dict.fromkeys(_VIESCORE, (0.0, 10.0)), _viescore),
        "expectation": Rubric(("expected",), _EXPECTATION, _expectation),
    }
)
