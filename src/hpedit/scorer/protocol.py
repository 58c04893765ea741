"""The Scorer protocol: what training, `hpedit cases` and the benchmark need of a scorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from hpedit.records import Case, Score


class Scorer(Protocol):
    """Scores edits: as a reward, as a hardness filter, and as a column of the benchmark."""

    @property
    def fingerprint(self) -> str:
        """Identifies judge, prompts and calibration."""
        ...

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, edited image); its value is None if the edit is unscorable."""
        ...
