"""Validation of what raters send to the rating server (names, answers), and its errors with an HTTP status."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP, VOTES
from hpedit.ratings.store import CHECKS, REWORDED, RatingKind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.store.text_checks import MAX_LETTERS, clean, refusal

MAX_NAME = 64
"""Characters of a rater's name."""
MAX_INSTRUCTION = MAX_LETTERS
"""Characters of a changed instruction."""


class Refusal(HPEditError):
    """A request that cannot be met; nothing of it is stored."""

    status: ClassVar[int] = 400


class Missing(Refusal):
    """The request names something that does not exist or belongs to another rater."""

    status = 404


class Conflict(Refusal):
    """The request contradicts what is stored."""

    status = 409


class Invalid(Refusal):
    """A value in the request is not allowed."""

    status = 422


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer as the browser sends it."""

    client_id: str
    assignment: str
    value: Value
    flags: tuple[str, ...]
    ms: int
    client_time: str


def clean_name(name: str) -> str:
    """A rater's name with Unicode and blanks normalised; raises Invalid."""
    found = _clean_text(name)
    if found is None or not 0 < len(found) <= MAX_NAME:
        raise Invalid(f"invalid name: use 1 to {MAX_NAME} characters", hint="without control characters")
    return found


def _clean_text(text: str) -> str | None:
    """Normalised text on one line; None if it has control characters or unpaired surrogates, which no file can hold."""
    found = clean(text)
    return None if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found) else found


def clean_value(value: Value, kind: RatingKind, instruction: str) -> Value:
    """An answer's value in the form to store; raises Invalid for a value that no button of the page sends.

    Args:
        instruction: what the rater was shown; a check cannot change it to the same text.
    """
    if value == SKIP:
        return value
    if kind == "check":
        return _clean_check(value, instruction)
    if kind == "compare":
        if value not in VOTES:
            raise Invalid(f"invalid vote: {value!r}", hint=f"use one of {', '.join(VOTES)}, {SKIP}")
    elif isinstance(value, str) or not MIN_SCORE <= value <= MAX_SCORE or not (2 * value).is_integer():
        raise Invalid(f"invalid score: {value!r}", hint=f"use a whole or half number from 0 to 5, or {SKIP}")
    return value


def _clean_check(value: Value, instruction: str) -> Value:
    if value in CHECKS:
        return value
    if not isinstance(value, str) or not value.startswith(REWORDED):
        raise Invalid("invalid answer to a check", hint=f"use one of {', '.join(CHECKS)}, {REWORDED}TEXT, {SKIP}")
    text = _clean_text(value.removeprefix(REWORDED))
    # The rules of every instruction: readable text, and no characters that reverse its direction.
    if text is None or refusal(text):
        raise Invalid("invalid instruction", hint=f"use 1 to {MAX_INSTRUCTION} characters of readable text")
    if text == _clean_text(instruction):
        raise Invalid("the new instruction equals the old one", hint="keep the case, or change the words")
    return REWORDED + text
