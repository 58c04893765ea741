"""The edits of an iteration with their scores and advantages."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from hpedit.records import Case
from hpedit.rl.rewards import Scores
from hpedit.rl.rollout import Batch

Group = tuple[int, dict[str, list[float | None]], list[float | None]]
"""(number, rewards by name, main scores) of one group's edits."""


@dataclass(slots=True)
class Experience:
    """The edits that one process made in an iteration: edit i is of cases[i // group_size]."""

    cases: list[Case] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    """Number of each case's group within the iteration, over all processes."""
    batches: list[Batch] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,) advantages; 0 where an edit takes no part."""
    active: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(n,) whether an edit takes part."""
    replaced: set[int] = field(default_factory=set)
    """Positions of cases whose groups gave no signal and were replaced by groups of other cases."""
    forwards: int = 0

    def positions(self) -> list[int]:
        """Of the cases whose groups count."""
        return [position for position in range(len(self.cases)) if position not in self.replaced]
