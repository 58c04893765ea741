"""Raters whose answers say little, by rules that are printed with the reason. Nothing is deleted.

Whoever is flagged stays in the first set of figures and is left out of the second. Every rule needs `MIN_ANSWERS`
answers (gold: `MIN_GOLD`), so that nobody is flagged for a short visit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from hpedit.ratings.responses import SWAPPED_VOTE, VOTES, Response
from hpedit.stats.bootstrap import FloatArray, weighted_spearman
from hpedit.stats.rater_agreement import mean_rating

MIN_ANSWERS = 10
FAST_MS, FAST_SHARE = 500, 0.2
"""Nobody looks at two pictures in half a second; one answer in five may be a slip of the key."""
MIN_GOLD, GOLD_SHARE, GOLD_MARGIN = 3, 0.5, 1.0
"""Under half of at least three known answers right; a score within 1 of the known one is right."""
SIDE_SHARE, SIDE_P = 0.9, 0.005
"""Sides are drawn at random: nine tenths on one side, and less likely than 1 in 200 by chance."""
SAME_SHARE = 0.9
MAX_ALONE, MIN_COMPANY = 0.1, 0.3
"""Correlation with the others below the first, while among the others the median is above the second."""
MAX_ALONE_VOTES, MIN_COMPANY_VOTES = 0.5, 0.6
"""The same for the share of equal decided votes, whose chance level is one half."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One rule that one rater breaks."""

    rater: str
    rule: str
    reason: str


def conduct_flags(responses: Sequence[Response]) -> list[Flag]:
    """Flags that need no comparison with others: haste, and known answers missed."""
    flags = []
    for rater in sorted({response.rater for response in responses}):
        own = [response for response in responses if response.rater == rater]
        times = [response.ms for response in own if response.ms is not None]
        fast = sum(ms < FAST_MS for ms in times)
        if len(times) >= MIN_ANSWERS and fast >= FAST_SHARE * len(times):
            flags.append(Flag(rater, "too fast", f"{fast} of {len(times)} answers in under {FAST_MS} ms"))
        gold = [response for response in own if response.expected is not None]
        right = sum(map(is_right, gold))
        if len(gold) >= MIN_GOLD and right < GOLD_SHARE * len(gold):
            flags.append(Flag(rater, "fails gold", f"{right} of {len(gold)} known answers right"))
    return flags


def is_right(response: Response) -> bool:
    """Whether an answer to an item with a known answer is that answer, for a score within `GOLD_MARGIN`."""
    if isinstance(response.value, float) and isinstance(response.expected, float):
        return abs(response.value - response.expected) <= GOLD_MARGIN
    return response.value == response.expected


def score_flags(ratings: FloatArray, raters: Sequence[str]) -> list[Flag]:
    """Flags on scores (n, r), NaN = not rated: one score for everything, and order unlike everybody's."""
    flags = []
    for column, rater in enumerate(raters):
        own = ratings[:, column]
        known = ~np.isnan(own)
        others = mean_rating(np.delete(ratings, column, axis=1))[known]
        others = others[~np.isnan(others)]
        if known.sum() >= MIN_ANSWERS and np.ptp(own[known]) == 0 and (len(others) == 0 or np.ptp(others) > 0):
            flags.append(Flag(rater, "constant score", f"all {known.sum()} scores are {own[known][0]:g}"))
        value, shared = _correlation_with_rest(ratings, column)
        company = _company(np.delete(ratings, column, axis=1))
        if shared >= MIN_ANSWERS and _is_alone(value, shared, company):
            reason = f"correlation with the others is {value:.2f} on {shared} edits; among them {company:.2f}"
            flags.append(Flag(rater, "disagrees with everyone", reason))
    return flags


def vote_flags(responses: Sequence[Response]) -> list[Flag]:
    """Flags on votes: one side, one answer for everything, and choices unlike everybody's."""
    flags = []
    for rater in sorted({response.rater for response in responses}):
        own = [response for response in responses if response.rater == rater]
        others = [response for response in responses if response.rater != rater]
        flags += _one_sided(rater, own) + _one_answer(rater, own, others)
        equal, pairs = _equal_choices(own, others)
        among, among_pairs = _equal_choices(others, others)
        if pairs < MIN_ANSWERS or not among_pairs:
            continue
        if equal / pairs < MAX_ALONE_VOTES and among / among_pairs >= MIN_COMPANY_VOTES:
            reason = f"{equal} of {pairs} choices are the others'; among them {among / among_pairs:.0%}"
            flags.append(Flag(rater, "disagrees with everyone", reason))
    return flags


def oriented(response: Response) -> str:
    """A vote as if the two edits had been shown in the order of their ids."""
    vote = str(response.value)
    return vote if response.edits[0] < response.edits[1] else SWAPPED_VOTE[vote]


def _is_alone(value: float, shared: int, company: float) -> bool:
    """Low, and lower than the others' median beyond the noise of so few edits (Fisher's z, one-sided 95 %)."""
    if not (value < MAX_ALONE and company > MIN_COMPANY):
        return False
    high = math.atanh(max(value, -0.999)) + 1.645 / math.sqrt(shared - 3)
    return high < math.atanh(min(company, 0.999))


def _company(ratings: FloatArray) -> float:
    """Median over these raters of the correlation with the others among them; NaN where undefined."""
    values = [_correlation_with_rest(ratings, column)[0] for column in range(ratings.shape[1])]
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _correlation_with_rest(ratings: FloatArray, column: int) -> tuple[float, int]:
    """Spearman of a rater with the mean of the others, NaN if undefined, and on how many edits."""
    others = mean_rating(np.delete(ratings, column, axis=1))
    both = ~np.isnan(ratings[:, column]) & ~np.isnan(others)
    if both.sum() < 2:
        return math.nan, int(both.sum())
    table = np.column_stack([ratings[both, column], others[both]])
    return float(weighted_spearman(table, np.ones((1, len(table))))[0]), int(both.sum())


def _one_sided(rater: str, own: Sequence[Response]) -> list[Flag]:
    left, right = (sum(response.value == side for response in own) for side in "AB")
    decided = left + right
    if decided < MIN_ANSWERS or max(left, right) < SIDE_SHARE * decided:
        return []
    if binomtest(left, decided).pvalue > SIDE_P:
        return []
    side, count = ("left", left) if left > right else ("right", right)
    return [Flag(rater, f"always {side}", f"{count} of {decided} choices are the {side} one")]


def _one_answer(rater: str, own: Sequence[Response], others: Sequence[Response]) -> list[Flag]:
    """Flag a rater who ties everything, or finds everything bad, unless the others do so on the same pairs."""
    pairs = {frozenset(response.edits) for response in own}
    theirs = [response.value for response in others if frozenset(response.edits) in pairs]
    for vote in VOTES[2:]:
        count, shared = sum(response.value == vote for response in own), theirs.count(vote)
        if len(own) >= MIN_ANSWERS and count >= SAME_SHARE * len(own) and 2 * shared <= len(theirs):
            return [Flag(rater, f"always {vote}", f"{count} of {len(own)} answers are {vote}")]
    return []


def _equal_choices(own: Sequence[Response], others: Sequence[Response]) -> tuple[int, int]:
    """(equal, all) pairs of one's choice and another rater's on the same two edits, both for A or B."""
    by_item: dict[frozenset[str], list[tuple[str, str]]] = {}
    for response in others:
        if response.value in VOTES[:2]:
            by_item.setdefault(frozenset(response.edits), []).append((response.rater, oriented(response)))
    equal = pairs = 0
    for response in own:
        if response.value in VOTES[:2]:
            given = [vote for rater, vote in by_item.get(frozenset(response.edits), []) if rater != response.rater]
            equal += given.count(oriented(response))
            pairs += len(given)
    return equal, pairs
