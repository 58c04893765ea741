"""Request bodies of the rating server, validation of names and answers, and errors with an HTTP status."""

from __future__ import annotations

import unicodedata
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP, VOTES
from hpedit.ratings.store import CHECKS, REWORDED, RatingKind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.store.text_checks import MAX_LETTERS, clean, refusal

MAX_NAME = 64
"""Characters of a rater's name."""
MAX_INSTRUCTION = MAX_LETTERS
"""Characters of a changed instruction."""


_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
"""Letters and marks that show nothing."""


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


def _as_score(value: float | str) -> Value:
    return value if isinstance(value, str) else float(value)


_MAX_VALUE = len(REWORDED) + 2 * MAX_INSTRUCTION
"""A changed instruction may be sent in a longer spelling than the normalised one that is stored."""
_ClientId = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{8,64}$")]
_Value = Annotated[StrictInt, Field(ge=0, le=5)] | StrictFloat | Annotated[StrictStr, Field(max_length=_MAX_VALUE)]
_Flag = Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")]
_Flags = Annotated[tuple[_Flag, ...], Field(max_length=8), AfterValidator(lambda flags: tuple(sorted(set(flags))))]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SessionBody(_Body):
    """POST /api/session: sign in."""

    rater: StrictStr = Field(max_length=256)
    token: StrictStr | None = Field(default=None, max_length=1024)


class AnswerBody(_Body):
    """POST /api/answer: an answer as the browser sends it."""

    client_id: _ClientId
    assignment: StrictStr = Field(max_length=64)
    value: Annotated[_Value, AfterValidator(_as_score)]
    flags: _Flags = ()
    ms: int = Field(default=0, ge=0, le=2**40)
    client_time: str = Field(default="", pattern=r"^[0-9A-Za-z:+. -]{0,64}$")


class UndoBody(_Body):
    """POST /api/undo."""

    client_id: _ClientId
    answer: _ClientId | None = None


def clean_name(name: str) -> str:
    """A rater's name with Unicode and blanks normalised; raises Invalid."""
    found = _clean_text(name)
    if found is None or not 0 < len(found) <= MAX_NAME or not name_key(found):
        raise Invalid(f"invalid name: use 1 to {MAX_NAME} characters", hint="without control characters")
    return found


def name_key(name: str) -> str:
    """What tells raters apart: names that look alike but for case, width or invisible characters are one rater."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(letter for letter in folded if not _is_invisible(letter)).split())


def _is_invisible(letter: str) -> bool:
    """Whether a character leaves no mark: formats such as zero-width spaces, variation selectors, fillers."""
    return unicodedata.category(letter) == "Cf" or letter in _FILLERS or "\ufe00" <= letter <= "\ufe0f"


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
