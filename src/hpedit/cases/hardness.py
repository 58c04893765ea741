"""Filter cases by hardness: k edits of each by the base editor, their scores, and the decision on each case.

    edits = edit_candidates(cases, editor, k=4, seed=0, steps=8, batch=48)      # k edits a case
    scores = score_edits(cases, edits, scorer, batch=48)
    decisions = decide_hardness(values, section)                           # values: the k scores by case id

`drop-solved` is HP-Edit's filter (arXiv 2604.19406): a case whose mean score rounds to 5 teaches nothing; the paper has
k = 1.

`informative` keeps what reinforcement learning can use: a group's advantages come from the spread of its scores, so a
zero-variance group teaches nothing. Few edits may miss a spread, therefore a case without one is kept if its mean lies
between `low` and `high`. Above, it is solved; below, impossible.

The spread is the population standard deviation (divided by k, not k - 1), as in the advantage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from hpedit.cases.recipe import FilterSection
from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, Score
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import edit_seed
from hpedit.tasks import TASK_IDS

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor

SOLVED = 5
"""Rounded mean score of a solved case, in the paper's filter."""

Reason = Literal["unfiltered", "hard", "spread", "between", "solved", "impossible", "unscorable"]
KEPT: tuple[Reason, ...] = ("unfiltered", "hard", "spread", "between")
DROPPED: tuple[Reason, ...] = ("solved", "impossible", "unscorable")

MEANING: Mapping[Reason, str] = {
    "unfiltered": "kept: no filter was set",
    "hard": "kept: the base editor's mean score does not round to 5",
    "spread": "kept: the scores of its edits differ enough to learn from",
    "between": "kept: the scores hardly differ, but their mean leaves room up and down",
    "solved": "dropped: the base editor already solves it",
    "impossible": "dropped: the base editor never comes close",
    "unscorable": "dropped: too few of its edits have a score",
}
"""Each reason of a filter decision, as people read it."""


@dataclass(frozen=True, slots=True)
class FilterDecision:
    """The hardness filter's decision on one case."""

    kept: bool
    reason: Reason
    mean: float | None = None
    """Of the edits' scores, 0 to 5; None = no edit has one."""
    std: float | None = None
    """Population standard deviation of the scores, 0 to 2.5; None with fewer than two."""
    unscorable: int = 0
    """Number of the k edits without a score."""


def edit_candidates(
    cases: Sequence[Case], editor: Editor, k: int, seed: int, steps: int, batch: int
) -> list[list[Edit]]:
    """Make k edits of each candidate case from different noise; a case is encoded once.

    Args:
        cases: (n,) of any sizes. Their order decides what shares a batch, and so the last bits of a float.
        k: Edits a case, at least 1.
        seed: Edit i starts from the noise of `edit_seed(case.id, seed + i)`, independent of the other cases.
        steps: Sampling steps.
        batch: Edits made at once.

    Returns:
        (n, k) edits, named base0:CASE, base1:CASE, ...
    """
    import torch

    from hpedit.editors.protocol import Conditioning
    from hpedit.editors.sampling import group_by_size, sample_ode

    conditionings = [editor.encode([case]) for case in cases]
    made: dict[tuple[int, int], Edit] = {}
    for bucket in group_by_size(conditionings):
        jobs = [(row, number) for row in bucket for number in range(k)]
        for start in range(0, len(jobs), batch):
            part = jobs[start : start + batch]
            seeds = [edit_seed(cases[row].id, seed + number) for row, number in part]
            with torch.no_grad():
                conditioning = Conditioning.cat([conditionings[row] for row, _ in part])
                latents = sample_ode(editor, editor.initial_noise(conditioning, seeds), conditioning, steps)
                images = editor.decode(latents, conditioning)
            for (row, number), noise, image in zip(part, seeds, images, strict=True):
                case_id, maker = cases[row].id, f"{editor.fingerprint}/{steps} steps"
                made[row, number] = Edit(f"base{number}:{case_id}", case_id, maker, noise, image)
    return [[made[row, number] for number in range(k)] for row in range(len(cases))]


def score_edits(
    cases: Sequence[Case], edits: Sequence[Sequence[Edit]], scorer: Scorer, batch: int
) -> list[list[Score]]:
    """Score each edit in batches; the result has the shape of `edits`.

    Args:
        cases: (n,) the cases of the edits.
        edits: (n, k) as `edit_candidates` returns them; rows may differ in length.
        batch: Edits scored at once.

    Raises:
        HPEditError: the scorer returned a wrong number of scores.
    """
    jobs = [(case, edit) for case, row in zip(cases, edits, strict=True) for edit in row]
    scores: list[Score] = []
    for start in range(0, len(jobs), batch):
        part = jobs[start : start + batch]
        found = scorer.score(
            [case for case, _ in part], [edit.image for _, edit in part], [edit.id for _, edit in part]
        )
        if len(found) != len(part):
            raise HPEditError(f"the scorer gave {len(found)} scores for {len(part)} edits")
        scores += found
    rest = iter(scores)
    return [list(islice(rest, len(row))) for row in edits]


def decide_hardness(values: Mapping[str, Sequence[float | None]], section: FilterSection) -> dict[str, FilterDecision]:
    """Decide which cases the hardness filter keeps, in the order of `values`.

    Args:
        values: The k scores of each case by its id; None = no score. Missing scores are left out of mean and deviation,
            never taken as 0. With `informative`, a case of fewer than two scores is unscorable.
        section: Which filter, and its bounds.
    """
    return {name: _decision(scores, section) for name, scores in values.items()}


def _decision(scores: Sequence[float | None], section: FilterSection) -> FilterDecision:
    found = [value for value in scores if value is not None]
    mean = math.fsum(found) / len(found) if found else None
    std = None
    if mean is not None and len(found) > 1:
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / len(found))
    reason = _reason(mean, std, section)
    return FilterDecision(reason in KEPT, reason, mean, std, len(scores) - len(found))


def _reason(mean: float | None, std: float | None, section: FilterSection) -> Reason:
    if section.by == "none":
        return "unfiltered"
    if mean is None:
        return "unscorable"
    if section.by == "drop-solved":
        # Halves round up, as people do; Python's round takes 4.5 to the even 4.
        return "solved" if math.floor(mean + 0.5) >= SOLVED else "hard"
    if std is None:
        return "unscorable"
    if std >= section.min_std:
        return "spread"
    return "solved" if mean > section.high else "impossible" if mean < section.low else "between"


def count_decisions(decisions: Mapping[str, FilterDecision], tasks: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Count filter decisions by task and reason, see `count_reasons`; both arguments are by case id."""
    return count_reasons(Counter((tasks[name], decision.reason) for name, decision in decisions.items()))


def count_reasons(found: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Nest counts by (task, reason): tasks in their usual order, kept before dropped reasons, zeros left out."""
    return {
        task: {reason: found[task, reason] for reason in (*KEPT, *DROPPED) if found.get((task, reason))}
        for task in TASK_IDS
        if any(key[0] == task for key in found)
    }
