"""Rubrics: how the columns of a table of judges' answers become features and an overall score.

A rubric is a known set of columns, or columns whose worst and best answers the user gives. The first feature is always
the judge's own overall score on 0 to 5: the uncalibrated baseline, and the anchor of the calibration. Columns named
"q:..." are answers to reasoning questions from 0 (bad) to 1 in any rubric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.prompts import PREFIX
from hpedit.stats.bootstrap import FloatArray

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Features = tuple[tuple[str, ...], FloatArray]
"""Names (f,) and values (n, f), NaN = missing."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """The columns of one kind of judge."""

    required: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    """Lowest and highest answer to each question; optional ones may be missing in a table."""
    features: Callable[[Mapping[str, FloatArray]], Features]
    """From answers (n,) by question to features."""
    derived: tuple[str, ...] = ()
    """Features that are functions of others."""


def parse_answer(text: str, scale: tuple[float, float]) -> tuple[float, str]:
    """Parse a cell: its number and "", or NaN and the reason. Nothing is guessed from words, and nothing is clipped."""
    if not text:
        return np.nan, "no answer"
    if not _NUMBER.fullmatch(text):
        return np.nan, "not a number"
    value = float(text)
    if not scale[0] <= value <= scale[1]:
        return np.nan, f"not in {scale[0]:g} to {scale[1]:g}"
    return value, ""


def find_rubric(columns: Sequence[str]) -> Rubric | None:
    """Find the first rubric whose required questions are all among ``columns``."""
    return next((rubric for rubric in RUBRICS.values() if set(rubric.required) <= set(columns)), None)


def _viescore(answers: Mapping[str, FloatArray]) -> Features:
    """VIEScore (arXiv 2312.14867): overall = sqrt(min(semantic) * min(quality)) on 0 to 10, here halved.

    Both minima are features of their own.
    """
    semantic = np.minimum(answers["edit_success"], answers["no_overedit"]) / 10
    quality = np.minimum(answers["naturalness"], answers["no_artifacts"]) / 10
    values = {
        "overall": 5 * np.sqrt(semantic * quality),
        "semantic": semantic,
        "quality": quality,
        **{name: answers[name] / 10 for name in _VIESCORE},
    }
    return tuple(values), np.column_stack(list(values.values()))


def columns_rubric(columns: Mapping[str, tuple[float, float]]) -> Rubric:
    """Make a rubric from the user's columns.

    Args:
        columns: worst and best answer of each; (10, 0) is a scale on which 0 is best. Their mean, each on 0 to 5, is
            the judge's overall score.
    """

    def features(answers: Mapping[str, FloatArray]) -> Features:
        share = {name: (answers[name] - worst) / (best - worst) for name, (worst, best) in columns.items()}
        overall = 5 * np.mean(list(share.values()), axis=0)
        return ("overall", *columns), np.column_stack([overall, *share.values()])

    # By name: the order of a JSON object's keys is not kept.
    columns = dict(sorted(columns.items()))
    ranges = {name: (min(scale), max(scale)) for name, scale in columns.items()}
    return Rubric(tuple(columns), ranges, features, ("overall",))


def parse_columns(text: str) -> dict[str, tuple[float, float]]:
    """Read "name:worst:best,name:worst:best".

    Raises:
        HPEditError: not of that form, a name is there twice or is a question's, both ends are equal.
    """
    result: dict[str, tuple[float, float]] = {}
    for item in text.split(","):
        name, *ends = (piece.strip() for piece in item.rsplit(":", 2))
        numbers = [float(end) for end in ends if _NUMBER.fullmatch(end)]
        if len(numbers) < 2 or not name or numbers[0] == numbers[1]:
            raise HPEditError(
                f"--columns {item.strip()!r} is not name:worst:best", hint="for example realism:0:10,flaws:5:1"
            )
        if name in result or name == "overall" or name.startswith(PREFIX):
            raise HPEditError(f"--columns cannot have {name!r} here", hint="each name once, not overall, not q:...")
        result[name] = (numbers[0], numbers[1])
    return result


def _expectation(answers: Mapping[str, FloatArray]) -> Features:
    """Take the expected answer, and its spread and probabilities if the table has them."""
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
        "viescore": Rubric(
            _VIESCORE, dict.fromkeys(_VIESCORE, (0.0, 10.0)), _viescore, ("overall", "semantic", "quality")
        ),
        "expectation": Rubric(("expected",), _EXPECTATION, _expectation),
    }
)
