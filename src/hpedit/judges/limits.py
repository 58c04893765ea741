"""Stop a run when too many of a judge's answers are unscorable.

A few are left out and counted; many would bias what is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hpedit.errors import HPEditError
from hpedit.judges.protocol import Answer

SHARE = 0.2
AFTER = 50


class UnscorableLimit:
    """Counts a run's answers, and stops it when the share of unscorable ones is too large.

    Args:
        share: Largest share of unscorable answers, 0 to 1.
        after: Answers before the share is checked.
    """

    def __init__(self, share: float = SHARE, after: int = AFTER) -> None:
        self.share = share
        self.after = after
        self.answers = 0
        self.unscorable = 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def count(self, answers: Iterable[Answer]) -> None:
        """Count answers; HPEditError with the most common reasons when the share is exceeded."""
        for answer in answers:
            self.answers += 1
            if answer.probabilities is None:
                self.unscorable += 1
                reason = answer.reason or "no reason given"
                kind = re.sub(r"\d+", "#", reason)
                self._reasons[kind] += 1
                self._examples.setdefault(kind, reason)
        if self.answers >= self.after and self.unscorable > self.share * self.answers:
            raise HPEditError(
                f"{self.unscorable} of the judge's {self.answers} answers are unscorable, more than "
                f"{self.share:.0%}: {self.reasons()}",
                hint="fix the judge and run the same command again; see docs/judges.md",
            )

    def reasons(self, most: int = 3) -> str:
        """The most common reasons with their counts; reasons that differ only in numbers count as one."""
        found = self._reasons.most_common(most)
        return "; ".join(f"{count} x {self._examples[kind]}" for kind, count in found)
