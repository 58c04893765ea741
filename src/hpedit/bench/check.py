"""What people said of a benchmark's cases in the rating app (`hpedit bench check`), made into one verdict a case.

A checker keeps a case, mends its instruction, or drops it; who skipped it said nothing. A case stays if more checkers
want it (as it is, or mended) than drop it. Its instruction is mended if at least as many mend it as keep it, to what
most of them wrote, the earliest where several wrote differently. Where as many want it as drop it nothing is decided:
it stays out, and is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP
from hpedit.ratings.store import REWORDED, RatingStore, StoredAnswer

KEPT, MENDED, DROPPED, UNDECIDED = "kept", "mended", "dropped", "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one case."""

    case_id: str
    decision: str
    """KEPT, MENDED, DROPPED or UNDECIDED."""
    shown: str
    """The instruction that the checkers saw."""
    instruction: str
    """The one that the case has from now on; the same unless it is MENDED."""
    keep: int
    mend: int
    drop: int
    reasons: Mapping[str, int]
    """Flags given by all its checkers, with how many gave each."""
    texts: tuple[str, ...]
    """Every different mended instruction, the earliest first."""

    @property
    def stays(self) -> bool:
        """Whether it goes into the benchmark."""
        return self.decision in (KEPT, MENDED)

    @property
    def checkers(self) -> int:
        """People who decided, skips not counted."""
        return self.keep + self.mend + self.drop

    @property
    def agreed(self) -> bool:
        """Whether all said the same, mended words included."""
        return max(self.keep, self.mend, self.drop) == self.checkers and len(self.texts) <= 1


def read_checks(db: Path | str) -> dict[str, Verdict]:
    """The verdict on every case that at least one person decided on, by case id.

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
    return {case_id: verdict_of(case_id, shown[case_id], answers[case_id]) for case_id in sorted(answers)}


def verdict_of(case_id: str, shown: str, answers: Sequence[StoredAnswer]) -> Verdict:
    """The verdict on one case from its answers, none of them a skip, in the order in which they were stored."""
    mended = [str(answer.value).removeprefix(REWORDED) for answer in answers if str(answer.value).startswith(REWORDED)]
    drop = sum(answer.value == "drop" for answer in answers)
    keep = len(answers) - len(mended) - drop
    return Verdict(
        case_id=case_id,
        decision=_decision(keep, len(mended), drop),
        shown=shown,
        instruction=_most_common(mended) if _decision(keep, len(mended), drop) == MENDED else shown,
        keep=keep,
        mend=len(mended),
        drop=drop,
        reasons=dict(sorted(Counter(flag for answer in answers for flag in answer.flags).items())),
        texts=tuple(dict.fromkeys(mended)),
    )


def _decision(keep: int, mend: int, drop: int) -> str:
    if keep + mend == drop:
        return UNDECIDED
    if keep + mend < drop:
        return DROPPED
    # Somebody who mends has seen what is wrong; a tie goes to them.
    return MENDED if mend and mend >= keep else KEPT


def _most_common(texts: Iterable[str]) -> str:
    """The text that occurs most often; of several, the one that came first (Counter keeps the order of arrival)."""
    return Counter(texts).most_common(1)[0][0]
