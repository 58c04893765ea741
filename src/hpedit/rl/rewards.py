"""Rewards of a run: one or several weighted scorers, judging in a background thread while the next edits are sampled.

    with BackgroundScoring(rewards) as judging:
        collect(..., on_decoded=lambda edits, images: judging.submit(edits, cases, images, ids))
        scores = judging.scores(edits)          # waits for these alone

An edit that one of the scorers can't score has no reward: it is left out and counted, never 0.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case, Score
from hpedit.rl.advantage import reward_from_score
from hpedit.rl.parallel import stopping
from hpedit.scorer.protocol import Scorer

logger = logging.getLogger(__name__)

T = TypeVar("T")
POLL: Final = 0.2
"""Seconds between two checks whether the run is to stop."""
GRACE: Final = 10.0
"""Seconds for which `close` waits for the job under way."""
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
        """Score every edit by every scorer."""
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


class SingleThreadExecutor:
    """A single-thread executor with bounded shutdown; each finished job counts as progress of the run.

    A thread pool of the standard library is joined when Python ends: a judge that never answers would keep a finished
    run from ending. This thread is a daemon, and `close` waits for a while only.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run `function(*args)` after the jobs before it."""
        future: Future[T] = Future()
        self._jobs.put((future, lambda: function(*args)))
        return future

    def close(self, grace: float = GRACE) -> None:
        """Drop the jobs that have not begun; wait `grace` seconds at most for the one under way."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(grace)
        if self._thread.is_alive():
            logger.warning("the %s has not finished within %.0f s and is left running", self._name, grace)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if self._closed:
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                found = call()
            except BaseException as error:  # raised where the result is asked for
                future.set_exception(error)
            else:
                future.set_result(found)
            stopping.progress(self._name)


def result_of(future: Future[T]) -> T:
    """Wait for a job's result; what the job raised is raised here, and StopAsked if the run is to stop."""
    while True:
        try:
            return future.result(timeout=POLL)
        except NotYet:
            if future.done():  # the job itself raised a TimeoutError
                return future.result()
            stopping.check()


class BackgroundScoring:
    """Scores edits in a background thread, in the order in which they come."""

    def __init__(self, rewards: Rewards, *, overlap: bool = True) -> None:
        """Without `overlap` the caller waits for the scores of what it submits."""
        self.rewards, self.overlap = rewards, overlap
        self.seconds = 0.0
        """Time spent judging so far, whether or not anybody waited for it."""
        self._executor = SingleThreadExecutor("judge")
        self._futures: dict[int, tuple[Future[list[Scores]], int]] = {}

    def submit(
        self, edits: Sequence[int], cases: Sequence[Case], images: Sequence[Image.Image], ids: Sequence[str]
    ) -> None:
        """Have edits judged; `edits` are their numbers."""
        future = self._executor.submit(self._score, list(cases), list(images), list(ids))
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
        self._executor.close(GRACE if error is None else 1.0)
