"""One answer of one person, in the form that every file format is read into and written from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE

VOTES = ("A", "B", "tie", "both_bad")
"""Answers to "which edit is better"; A is the one shown first, on the left."""
SWAPPED_VOTE: Mapping[str, str] = {"A": "B", "B": "A", "tie": "tie", "both_bad": "both_bad"}
"""The same opinion when the two edits change places."""
NO_VOTE = ("", "unreadable")
"""What stands in a table for a vote that is missing: not asked, or asked and not understood. Never a tie."""
SKIP = "skip"
PHASES = ("practice", "gold", "rate", "retest")

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to one edit (a score) or to two (a vote)."""

    edits: tuple[str, ...]
    """One edit id, or two in the order shown: A, B."""
    rater: str
    value: Value
    """A score 0 to 5, one of `VOTES`, "skip", or None: this table has no overall score, or its cell is empty."""
    id: str = ""
    """Unique in its store; "" where unknown."""
    phase: str = "rate"
    """One of `PHASES`."""
    flags: tuple[str, ...] = ()
    task: str = ""
    case_id: str = ""
    source_id: str = ""
    ms: int | None = None
    """Milliseconds from the item's appearance to the answer."""
    time: str = ""
    """ISO 8601 with zone; "" where unknown."""
    late: bool = False
    """It came after the item had been given to somebody else."""
    expected: float | str | None = None
    """What a gold or practice item should get."""
    superseded_by: str = ""
    """What took its place, if it was taken back; "" while it counts."""
    simulated: bool = False
    axes: Mapping[str, float] = field(default_factory=dict)
    """Marks beside the overall score, each on a scale of its own."""
    where: str = field(default="", compare=False)
    """file:line it was read from, for messages."""

    def __post_init__(self) -> None:
        """Refuse what nobody can have answered (HPEditError)."""
        where = f"{self.where}: " if self.where else ""
        if len(self.edits) not in (1, 2) or not all(self.edits):
            raise HPEditError(f"{where}an answer needs one edit id, or two; found {list(self.edits)}")
        if len(set(self.edits)) < len(self.edits):
            raise HPEditError(
                f"{where}edit {self.edits[0]!r} is compared with itself", hint="a vote is between two edits"
            )
        if not self.rater:
            raise HPEditError(f"{where}rater is empty", hint="every answer needs its rater's name")
        if self.phase not in PHASES:
            raise HPEditError(f"{where}phase is {self.phase!r}", hint=f"one of {', '.join(PHASES)}")
        if self.ms is not None and self.ms < 0:
            raise HPEditError(f"{where}ms is {self.ms}: time does not run backwards")
        self._check_value(where)

    def _check_value(self, where: str) -> None:
        if self.value is None or self.value == SKIP:
            return
        if self.kind == "compare":
            if self.value not in VOTES:
                raise HPEditError(f"{where}vote is {self.value!r}", hint=f"a vote is one of {', '.join(VOTES)}")
        elif (
            not isinstance(self.value, int | float)
            or not math.isfinite(self.value)
            or not MIN_SCORE <= self.value <= MAX_SCORE
        ):
            raise HPEditError(f"{where}score is {self.value!r}", hint="a score is a number from 0 to 5")

    @property
    def kind(self) -> str:
        """Whether it is a score or a vote: "score" or "compare"."""
        return "score" if len(self.edits) == 1 else "compare"

    @property
    def counts(self) -> bool:
        """Whether it is an opinion that stands: not practice, not skipped, not taken back, not empty."""
        answered = self.value is not None or bool(self.axes)
        return answered and self.value != SKIP and self.phase != "practice" and not self.superseded_by


def check_once(responses: Iterable[Response]) -> None:
    """Refuse a table in which one rater scores one edit twice (HPEditError with file:line); a retest may."""
    first: dict[tuple[str, str], Response] = {}
    for response in responses:
        if response.kind == "compare" or not response.counts or response.phase == "retest":
            continue
        key = (response.rater, response.edits[0])
        if key in first:
            raise HPEditError(
                f"{response.where or 'an answer'}: {key[1]} by {key[0]} is there twice "
                f"(first: {first[key].where or 'unknown'})",
                hint="mark a repeated rating as phase retest",
            )
        first[key] = response
