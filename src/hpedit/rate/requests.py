"""What clients may say, and how they are refused: names, answers, and the errors with an HTTP status."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from hpedit.errors import HPEditError
from hpedit.ratings.store import CHECKS, CHOICES, MEND, SKIP, Kind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.store.text_checks import MAX_LETTERS, clean, refusal

MAX_NAME = 64
"""Characters of a rater's name."""
MAX_INSTRUCTION = MAX_LETTERS
"""Characters of a mended instruction."""


class Refusal(HPEditError):
    """A request that cannot be met; nothing of it is stored."""

    status: ClassVar[int] = 400


class Missing(Refusal):
    """What the request names is not there, or not this rater's."""

    status = 404


class Conflict(Refusal):
    """The request contradicts what is stored."""

    status = 409


class Invalid(Refusal):
    """The request says something that cannot be."""

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
    """A rater's name in one spelling; Invalid where it is none."""
    found = _clean(name)
    if found is None or not 0 < len(found) <= MAX_NAME:
        raise Invalid("this is no name", hint=f"give 1 to {MAX_NAME} letters")
    return found


def _clean(text: str) -> str | None:
    """`text` in one spelling and on one line; None for control characters, and halves of letters no file can hold."""
    found = clean(text)
    return None if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in found) else found


def clean_value(value: Value, kind: Kind, instruction: str) -> Value:
    """The value as it is stored; Invalid for one that no button gives.

    Args:
        instruction: What the rater was shown; to mend it to itself is no answer.
    """
    if value == SKIP:
        return value
    if kind == "check":
        return _clean_check(value, instruction)
    if kind == "compare":
        if value not in CHOICES:
            raise Invalid(f"{value!r} is no answer to a comparison", hint=f"one of {', '.join(CHOICES)}, {SKIP}")
    elif isinstance(value, str) or not MIN_SCORE <= value <= MAX_SCORE or not (2 * value).is_integer():
        raise Invalid(f"{value!r} is no score", hint=f"a whole or half number from 0 to 5, or {SKIP}")
    return value


def _clean_check(value: Value, instruction: str) -> Value:
    if value in CHECKS:
        return value
    if not isinstance(value, str) or not value.startswith(MEND):
        raise Invalid("this is no answer to a check", hint=f"one of {', '.join(CHECKS)}, {MEND}TEXT, {SKIP}")
    text = _clean(value.removeprefix(MEND))
    # As of any instruction that comes in: nothing that turns text round, and something to read.
    if text is None or refusal(text):
        raise Invalid("the mended instruction is no instruction", hint=f"give 1 to {MAX_INSTRUCTION} letters")
    if text == _clean(instruction):
        raise Invalid("the mended instruction is the one that was there", hint="keep it, or change its words")
    return MEND + text
