"""The uncalibrated baseline: a judge's expected digit, without reasoning questions and without calibration.

HP-Scorer is measured against it, as a reward (`hpedit bench ablate`) and as a column of the benchmark.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from PIL import Image

from hpedit.judges.protocol import Judge
from hpedit.records import Case, Score
from hpedit.scorer.features import BASE, ask_features
from hpedit.scorer.hp_scorer import prompts_fingerprint


class UncalibratedScorer:
    """Implements the Scorer protocol of training and benchmark on the judge's own scale of 0 to 5."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @property
    def fingerprint(self) -> str:
        """Identifies judge, decoding and prompts."""
        text = f"plain|{self.judge.fingerprint}|{prompts_fingerprint()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, edited image); None with the reason if the judge's answer can't be read."""
        ids = edit_ids or [f"{case.id}-{index}" for index, case in enumerate(cases)]
        matrix, name = ask_features(self.judge, cases, images, {}), self.fingerprint
        found = zip(ids, matrix.features[:, : len(BASE)].tolist(), matrix.reasons, strict=True)
        return [
            Score(edit, name, None, reason=reason or "no answer")
            if math.isnan(expected)
            else Score(edit, name, expected, spread, raw=dict(zip(BASE, (expected, spread), strict=True)))
            for edit, (expected, spread), reason in found
        ]
