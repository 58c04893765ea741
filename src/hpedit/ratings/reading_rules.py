"""How a table of ratings from another tool is read: which control, field, column, word and scale mean what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """What a user says of an export of another tool; by default it is in this project's own terms."""

    control: str = ""
    """Label Studio: the control that holds the answer; "" finds it."""
    edit_fields: tuple[str, ...] = ()
    """Label Studio: the field of a task's data with the edit's id, or the two of a comparison."""
    scale: tuple[float, float] = (0.0, MAX_SCORE)
    """The lowest and the highest score that raters could give; scores are brought to 0 to 5."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column -> theirs; in JSONL a path with dots, such as responses.0.value."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Their word for an answer -> ours, such as leftvote -> A."""

    def score(self, where: str, value: float) -> float:
        """A score on 0 to 5; HPEditError if it lies outside of the scale."""
        low, high = self.scale
        if self.scale == (0.0, MAX_SCORE):
            return value  # `Response` checks it
        if not low <= value <= high:
            hint = f"scores are from {low:g} to {high:g}; another scale is --scale LOW:HIGH"
            raise HPEditError(f"{where}: score is {value!r}", hint=hint)
        return MAX_SCORE * (value - low) / (high - low)

    def cells(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row in our columns and words."""
        if not self.columns and not self.words:
            return row
        found = {name: value for name, value in row.items() if name not in self.columns.values()}
        found |= {ours: _at(row, theirs) for ours, theirs in self.columns.items()}
        for name in ("vote", "score"):
            if (said := str(found.get(name)).strip()) in self.words:
                found[name] = self.words[said]
        return found


def parse_rules(
    control: str, edit_field: str, scale: str, columns: Sequence[str], words: Sequence[str]
) -> ReadingRules:
    """The rules of the options of `hpedit ratings import`; HPEditError for a scale or a pair that is none."""
    fields = tuple(name.strip() for name in edit_field.split(",") if name.strip())
    if len(fields) > 2:
        raise HPEditError(f"--edit-field names {len(fields)} fields", hint="one, or the two of a comparison: a,b")
    return ReadingRules(control, fields, _parse_scale(scale), _parse_pairs(columns), _parse_pairs(words))


def _parse_scale(text: str) -> tuple[float, float]:
    """LOW:HIGH as two numbers."""
    try:
        low, high = (float(part) for part in text.split(":")) if text else (0.0, MAX_SCORE)
    except ValueError as error:
        raise HPEditError(f"--scale is {text!r}", hint="write LOW:HIGH, such as 1:5 or 0:100") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise HPEditError(f"--scale is {text!r}", hint="LOW must be below HIGH")
    return low, high


def _parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """NAME=NAME pairs."""
    for text in texts:
        if "=" not in text:
            raise HPEditError(f"{text!r} is no pair", hint="write OURS=THEIRS for a column, THEIRS=OURS for a word")
    return dict(text.split("=", 1) for text in texts)


def _at(row: Mapping[str, Any], path: str) -> Any:
    """The value at a name, or at a path with dots; None if there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


PLAIN_RULES = ReadingRules()
"""For tables in this project's own terms."""
