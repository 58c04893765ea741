"""What clients may say, and how they are refused: names, answers, and the errors with an HTTP status."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from hpedit.errors import HPEditError
from hpedit.rate.store import CHOICES, SKIP, Kind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE

MAX_NAME = 64
"""Characters of a rater's name."""


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
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    # Cc and Cs: control characters, and halves of letters that no file can hold.
    if not clean or len(clean) > MAX_NAME or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in clean):
        raise Invalid("this is no name", hint=f"give 1 to {MAX_NAME} letters")
    return clean


def check_value(value: Value, kind: Kind) -> None:
    """Invalid for a value that no button gives."""
    if value == SKIP:
        return
    if kind == "compare":
        if value not in CHOICES:
            raise Invalid(f"{value!r} is no answer to a comparison", hint=f"one of {', '.join(CHOICES)}, {SKIP}")
    elif isinstance(value, str) or not MIN_SCORE <= value <= MAX_SCORE or not (2 * value).is_integer():
        raise Invalid(f"{value!r} is no score", hint=f"a whole or half number from 0 to 5, or {SKIP}")
