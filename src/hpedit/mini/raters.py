"""Simulated raters: the oracle's score as one person sees it.

Each has a bias and noise of their own and gives whole scores, as people do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpedit.mini.oracle import score_edit
from hpedit.records import Case, Edit, Rating

RATERS = 5
PER_EDIT = 3
"""Raters that see each edit."""
BIAS = 0.3
"""Standard deviation of a rater's own leaning, in points."""
NOISE = 0.55
"""Standard deviation of a rater's mood from edit to edit, in points."""


@dataclass(frozen=True, slots=True)
class SimulatedRater:
    """One rater; the same seed and number give the same person."""

    name: str
    bias: float
    seed: int
    number: int

    @staticmethod
    def make(seed: int, number: int) -> SimulatedRater:
        """Person `number` (from 0) of the panel drawn with `seed`; the bias is drawn here, once for all edits."""
        bias = float(np.random.default_rng((seed, 1, number)).normal(0, BIAS))
        return SimulatedRater(f"simulated-{number + 1}", bias, seed, number)

    def rate(self, index: int, truth: float) -> float:
        """A whole score 0 to 5 of edit number `index` whose oracle score is `truth`."""
        mood = float(np.random.default_rng((self.seed, 2, self.number, index)).normal(0, NOISE))
        return float(np.clip(np.round(truth + self.bias + mood), 0, 5))


def simulate_ratings(cases: Sequence[Case], edits: Sequence[Edit], seed: int) -> list[Rating]:
    """PER_EDIT of RATERS simulated raters score each edit; `cases[i]` belongs to `edits[i]`."""
    raters = [SimulatedRater.make(seed, number) for number in range(RATERS)]
    ratings = []
    for index, (case, edit) in enumerate(zip(cases, edits, strict=True)):
        truth = score_edit(case, edit.image)
        for turn in range(PER_EDIT):
            rater = raters[(index + turn) % RATERS]
            ratings.append(Rating(edit.id, rater.name, rater.rate(index, truth), simulated=True))
    return ratings
