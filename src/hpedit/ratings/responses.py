"""One answer of one rater (`Response`): the form that every ratings file is read into and written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE

VOTES = ("A", "B", "tie", "both_bad")
"""Answers to "which edit is better"; A is the one shown first, on the left."""
SWAPPED_VOTE: Mapping[str, str] = {"A": "B", "B": "A", "tie": "tie", "both_bad": "both_bad"}
"""The same opinion when the two edits change places."""
NO_VOTE = ("", "unreadable")
"""Cells of a table for a missing vote: not asked, or asked and not understood. Never a tie."""
SKIP = "skip"
"""The rater left the item out; it is recorded, and counts as no rating."""
PHASES = ("practice", "gold", "rate", "retest")
GOLD_MARGIN = 1.0
"""A score this close to the known score of a gold or practice item is right: raters who agree still differ by one."""

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Response:
    """A rater's answer about one edit (a score) or two (a vote).

    Raises:
        HPEditError: no rater can have given it; the message names `where`.
    """

    edits: tuple[str, ...]
    """One edit id, or two in the order shown: A, B."""
    rater: str
    value: Value
    """A score 0 to 5, one of `VOTES`, "skip", or None: this table has no overall score, or its cell is empty."""
    id: str = ""
    """Unique in its store; "" if unknown."""
    phase: str = "rate"
    """One of `PHASES`."""
    flags: tuple[str, ...] = ()
    task: str = ""
    case_id: str = ""
    source_id: str = ""
    ms: int | None = None
    """Milliseconds from the item's appearance to the answer."""
    time: str = ""
    """ISO 8601 with zone; "" if unknown."""
    late: bool = False
    """It came after its lease had expired and the item had been given to another rater."""
    expected: float | str | None = None
    """The known answer of a gold or practice item."""
    superseded_by: str = ""
    """What replaced it after an undo; "" while it counts."""
    simulated: bool = False
    axes: Mapping[str, float] = field(default_factory=dict)
    """Scores on axes other than the overall score, each on its own scale."""
    where: str = field(default="", compare=False)
    """file:line it was read from, for messages."""

    def __post_init__(self) -> None:
        where = f"{self.where}: " if self.where else ""
        if len(self.edits) not in (1, 2) or not all(self.edits):
            raise HPEditError(f"{where}an answer needs one edit id, or two; found {list(self.edits)}")
        if len(set(self.edits)) < len(self.edits):
            raise HPEditError(f"{where}edit {self.edits[0]!r} is compared with itself", hint="a vote needs two edits")
        if not self.rater:
            raise HPEditError(f"{where}rater is empty", hint="every answer needs its rater's name")
        if self.phase not in PHASES:
            raise HPEditError(f"{where}phase is {self.phase!r}", hint=f"one of {', '.join(PHASES)}")
        if self.ms is not None and self.ms < 0:
            raise HPEditError(f"{where}ms is {self.ms}", hint="a duration cannot be negative")
        if self.value is None or self.value == SKIP:
            return
        if self.kind == "compare":
            if self.value not in VOTES:
                raise HPEditError(f"{where}vote is {self.value!r}", hint=f"a vote is one of {', '.join(VOTES)}")
        elif not (isinstance(self.value, int | float) and MIN_SCORE <= self.value <= MAX_SCORE):
            # NaN fails the comparison too.
            raise HPEditError(f"{where}score is {self.value!r}", hint="a score is a number from 0 to 5")

    @property
    def kind(self) -> str:
        """Whether it is a score or a vote: "score" or "compare"."""
        return "score" if len(self.edits) == 1 else "compare"

    @property
    def empty(self) -> bool:
        """Whether it has neither a value nor a score on any axis."""
        return self.value is None and not self.axes

    @property
    def counts(self) -> bool:
        """Whether it is a valid rating: not practice, skipped, undone or empty."""
        return not self.empty and self.value != SKIP and self.phase != "practice" and not self.superseded_by


def matches_expected(value: Value, expected: Value) -> bool:
    """Whether an answer to a gold or practice item is the known one; a score may differ by `GOLD_MARGIN`."""
    if isinstance(value, int | float) and isinstance(expected, int | float):
        return abs(value - expected) <= GOLD_MARGIN
    return value == expected


def group_by_rater(responses: Iterable[Response]) -> dict[str, list[Response]]:
    """Responses by rater, raters in alphabetical order."""
    groups: dict[str, list[Response]] = {}
    for response in responses:
        groups.setdefault(response.rater, []).append(response)
    return dict(sorted(groups.items()))


def check_rated_once(responses: Iterable[Response]) -> None:
    """Raise HPEditError with file:line if a rater scores the same edit twice, except as a retest."""
    first: dict[tuple[str, str], Response] = {}
    for response in responses:
        if response.kind == "compare" or not response.counts or response.phase == "retest":
            continue
        key = (response.rater, response.edits[0])
        if key in first:
            raise HPEditError(
                f"{response.where or 'an answer'}: rater {key[0]} scores edit {key[1]} twice "
                f"(first: {first[key].where or 'unknown'})",
                hint="mark a repeated rating as phase retest",
            )
        first[key] = response
