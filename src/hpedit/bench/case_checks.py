"""Checks of a benchmark's cases by people in the rating app (`hpedit bench check`), aggregated by majority per case.

A checker keeps a case, rewrites its instruction, or drops it; a skip does not count. A case stays if more checkers keep
or rewrite it than drop it. Its instruction is rewritten if at least as many rewrite it as keep it, to the most frequent
text, the earliest on a tie. If keeping and dropping tie, the case is undecided: it is left out, and listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP
from hpedit.ratings.store import REWORDED, RatingStore, StoredAnswer

KEPT, MENDED, DROPPED, UNDECIDED = "kept", "mended", "dropped", "undecided"


@dataclass(frozen=True, slots=True)
class CheckedCase:
    """The aggregated checks of one case."""

    case_id: str
    decision: str
    """KEPT, MENDED, DROPPED or UNDECIDED."""
    shown: str
    """The instruction shown to the checkers."""
    instruction: str
    """The instruction from now on; the same unless MENDED."""
    keep: int
    mend: int
    drop: int
    reasons: Mapping[str, int]
    """Flags of its checkers, with counts."""
    texts: tuple[str, ...]
    """The distinct rewritten instructions, the earliest first."""

    @property
    def stays(self) -> bool:
        """Whether it goes into the benchmark."""
        return self.decision in (KEPT, MENDED)

    @property
    def checkers(self) -> int:
        """Number of people who decided, without skips."""
        return self.keep + self.mend + self.drop

    @property
    def agreed(self) -> bool:
        """Whether all checkers agree, rewritten texts included."""
        return max(self.keep, self.mend, self.drop) == self.checkers and len(self.texts) <= 1


def read_checks(db: Path | str) -> dict[str, CheckedCase]:
    """The aggregated checks of every case that at least one person decided on, by case id.

    Raises:
        HPEditError: No store, a store of ratings instead of checks, or nothing in it yet.
    """
    with RatingStore.open(db) as store:
        kind = store.meta("kind")
        if kind != "check":
            raise HPEditError(f"{db} holds {kind or 'no'} answers, not checks", hint="`hpedit bench check` makes one")
        shown = {item["case_id"]: str(item["instruction"]) for item in store.items()}
        answers: dict[str, list[StoredAnswer]] = {}
        for answer in store.answers():
            if answer.value != SKIP:
                answers.setdefault(answer.case_id, []).append(answer)
    if not answers:
        raise HPEditError(f"{db} holds no check yet", hint="`hpedit bench check` serves the page")
    return {case_id: checked_case(case_id, shown[case_id], answers[case_id]) for case_id in sorted(answers)}


def checked_case(case_id: str, shown: str, answers: Sequence[StoredAnswer]) -> CheckedCase:
    """Aggregate the answers on one case, in the order in which they were stored, without skips."""
    mended = [str(answer.value).removeprefix(REWORDED) for answer in answers if str(answer.value).startswith(REWORDED)]
    drop = sum(answer.value == "drop" for answer in answers)
    keep = len(answers) - len(mended) - drop
    decision = _decision(keep, len(mended), drop)
    # Counter keeps the order of arrival, so the earliest of equally frequent texts comes first.
    instruction = Counter(mended).most_common(1)[0][0] if decision == MENDED else shown
    reasons = dict(sorted(Counter(flag for answer in answers for flag in answer.flags).items()))
    texts = tuple(dict.fromkeys(mended))
    return CheckedCase(case_id, decision, shown, instruction, keep, len(mended), drop, reasons, texts)


def _decision(keep: int, mend: int, drop: int) -> str:
    if keep + mend == drop:
        return UNDECIDED
    if keep + mend < drop:
        return DROPPED
    # Whoever rewrites has seen what is wrong, so they win a tie.
    return MENDED if mend and mend >= keep else KEPT
