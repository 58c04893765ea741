"""The rewards of a run: one or several scorers with weights, judging while the next edits are sampled.

    with BackgroundScoring(rewards) as judging:
        collect(..., on_decoded=lambda edits, images: judging.submit(edits, cases, images, ids))
        scores = judging.scores(edits)          # waits for these alone

An edit that one of the scorers can't score has no reward: it is left out and counted, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case, Score
from hpedit.rl.advantage import reward_from_score
from hpedit.rl.parallel.background import GRACE, SingleThreadExecutor, result_of
from hpedit.scorer.protocol import Scorer

MAIN = "scorer"
"""Name of the recipe's own scorer among the rewards."""
MAX_UNSCORABLE = 0.5
"""Share of unscorable edits in one iteration above which a run stops: the judge is down, or can't read these edits."""

Scores = dict[str, Score]
"""One edit's scores, by the reward's name."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Scorers and weights, by name; the first is the main one."""

    scorers: Mapping[str, Scorer]
    weights: Mapping[str, float]

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image], ids: Sequence[str]) -> list[Scores]:
        """Ask every scorer."""
        columns = {name: scorer.score(cases, images, ids) for name, scorer in self.scorers.items()}
        for name, scores in columns.items():
            assert len(scores) == len(ids), f"{name}: one score for each edit"
        return [{name: scores[i] for name, scores in columns.items()} for i in range(len(ids))]


def rewards_of(scores: Sequence[Scores]) -> dict[str, list[float | None]]:
    """Each reward's column: r = sigmoid(2 score - 5), None where there is no score."""
    return {
        name: [None if (value := one[name].value) is None else reward_from_score(value) for one in scores]
        for name in scores[0]
    }


def check_scorable(scores: Sequence[Scores], iteration: int) -> None:
    """HPEditError with a reason if more than half of the edits have no reward."""
    missing = [score for one in scores for score in one.values() if score.value is None]
    without = sum(any(score.value is None for score in one.values()) for one in scores)
    if without > MAX_UNSCORABLE * len(scores):
        raise HPEditError(
            f"iteration {iteration + 1}: {without} of {len(scores)} edits are unscorable: {missing[0].reason}",
            hint="check the judge; the same command continues from the last checkpoint",
        )


class BackgroundScoring:
    """One thread that scores edits in the order in which they come."""

    def __init__(self, rewards: Rewards, *, overlap: bool = True) -> None:
        """Without `overlap` the caller waits for the scores of what it submits."""
        self.rewards, self.overlap = rewards, overlap
        self.seconds = 0.0
        """Time spent judging so far, whether or not anybody waited for it."""
        self._worker = SingleThreadExecutor("judge")
        self._futures: dict[int, tuple[Future[list[Scores]], int]] = {}

    def submit(
        self, edits: Sequence[int], cases: Sequence[Case], images: Sequence[Image.Image], ids: Sequence[str]
    ) -> None:
        """Have edits judged; `edits` are their numbers."""
        future = self._worker.submit(self._score, list(cases), list(images), list(ids))
        self._futures |= {edit: (future, place) for place, edit in enumerate(edits)}
        if not self.overlap:
            result_of(future)

    def scores(self, edits: Sequence[int]) -> list[Scores]:
        """Wait for the scores of these edits; what the scorer raised is raised here."""
        return [result_of(self._futures[edit][0])[self._futures[edit][1]] for edit in edits]

    def _score(self, cases: list[Case], images: list[Image.Image], ids: list[str]) -> list[Scores]:
        began = time.perf_counter()
        scores = self.rewards.score(cases, images, ids)
        self.seconds += time.perf_counter() - began
        return scores

    def __enter__(self) -> BackgroundScoring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error nobody waits for what is still to be judged.
        self._worker.close(GRACE if error is None else 1.0)
