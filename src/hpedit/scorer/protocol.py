"""What training, the cases stage and the benchmark know of a scorer.

scores = scorer.score(cases, images)            # one a picture; value None where there is none to be had
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from hpedit.records import Case, Score


class Scorer(Protocol):
    """What scores edits: the reward, the hard filter, and a column of the benchmark."""

    @property
    def fingerprint(self) -> str:
        """Names judge, prompts and calibration."""
        ...

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, image); value None where there is none to be had."""
        ...
