"""Rater quality control: flag careless raters by fixed rules, each printed with its reason. Nothing is deleted.

A flagged rater stays in the first set of agreement figures and is left out of the second. Every rule needs
`MIN_ANSWERS` answers (gold: `MIN_GOLD`), so that nobody is flagged for a short visit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from hpedit.ratings.responses import SWAPPED_VOTE, VOTES, Response, group_by_rater, matches_expected
from hpedit.stats.bootstrap import FloatArray, weighted_spearman
from hpedit.stats.rater_agreement import mean_rating

MIN_ANSWERS = 10
FAST_MS, FAST_SHARE = 500, 0.2
"""Two pictures cannot be judged in half a second; one answer in five may be a slip of the key."""
MIN_GOLD, GOLD_SHARE = 3, 0.5
"""Fewer than half of at least three gold items right."""
SIDE_SHARE, SIDE_P = 0.9, 0.005
"""Sides are drawn at random: nine tenths on one side, and less likely than 1 in 200 by chance."""
SAME_SHARE = 0.9
MAX_OUTLIER, MIN_CONSENSUS = 0.1, 0.3
"""Correlation with the others below the first, while among the others the median is above the second."""
MAX_OUTLIER_VOTES, MIN_CONSENSUS_VOTES = 0.5, 0.6
"""The same for the share of equal decided votes, whose chance level is one half."""


@dataclass(frozen=True, slots=True)
class RaterFlag:
    """One quality rule that one rater breaks."""

    rater: str
    rule: str
    reason: str


def conduct_flags(responses: Sequence[Response]) -> list[RaterFlag]:
    """Flag raters by themselves, without comparing them: answers too fast, or gold items failed."""
    flags = []
    for rater, own in group_by_rater(responses).items():
        times = [response.ms for response in own if response.ms is not None]
        fast = sum(ms < FAST_MS for ms in times)
        if len(times) >= MIN_ANSWERS and fast >= FAST_SHARE * len(times):
            flags.append(RaterFlag(rater, "too fast", f"{fast} of {len(times)} answers in under {FAST_MS} ms"))
        gold = [response for response in own if response.expected is not None]
        right = sum(matches_expected(response.value, response.expected) for response in gold)
        if len(gold) >= MIN_GOLD and right < GOLD_SHARE * len(gold):
            flags.append(RaterFlag(rater, "fails gold", f"{right} of {len(gold)} known answers right"))
    return flags


def score_flags(ratings: FloatArray, raters: Sequence[str]) -> list[RaterFlag]:
    """Flag raters by a table of scores (n, r), NaN = not rated: a constant score, or an outlier among the raters."""
    flags = []
    for column, rater in enumerate(raters):
        own = ratings[:, column]
        known = ~np.isnan(own)
        others = mean_rating(np.delete(ratings, column, axis=1))[known]
        others = others[~np.isnan(others)]
        if known.sum() >= MIN_ANSWERS and np.ptp(own[known]) == 0 and (len(others) == 0 or np.ptp(others) > 0):
            flags.append(RaterFlag(rater, "constant score", f"all {known.sum()} scores are {own[known][0]:g}"))
        value, shared = _correlation_with_rest(ratings, column)
        consensus = _median_correlation(np.delete(ratings, column, axis=1))
        if shared >= MIN_ANSWERS and _is_outlier(value, shared, consensus):
            reason = f"correlation with the others is {value:.2f} on {shared} edits; among them {consensus:.2f}"
            flags.append(RaterFlag(rater, "disagrees with everyone", reason))
    return flags


def vote_flags(responses: Sequence[Response]) -> list[RaterFlag]:
    """Flag raters by their votes: always one side, always one answer, or an outlier among the raters."""
    flags = []
    for rater, own in group_by_rater(responses).items():
        others = [response for response in responses if response.rater != rater]
        flags += _one_sided(rater, own) + _one_answer(rater, own, others)
        equal, pairs = _equal_choices(own, others)
        among, among_pairs = _equal_choices(others, others)
        if pairs < MIN_ANSWERS or not among_pairs:
            continue
        if equal / pairs < MAX_OUTLIER_VOTES and among / among_pairs >= MIN_CONSENSUS_VOTES:
            reason = f"{equal} of {pairs} choices equal the others'; among them {among / among_pairs:.0%}"
            flags.append(RaterFlag(rater, "disagrees with everyone", reason))
    return flags


def oriented_vote(response: Response) -> str:
    """A vote as if the two edits had been shown in the order of their ids."""
    vote = str(response.value)
    return vote if response.edits[0] < response.edits[1] else SWAPPED_VOTE[vote]


def _is_outlier(value: float, shared: int, consensus: float) -> bool:
    """Whether a rater's correlation is low, beyond the noise of so few edits (Fisher's z, one-sided 95 %)."""
    if not (value < MAX_OUTLIER and consensus > MIN_CONSENSUS):
        return False
    high = math.atanh(max(value, -0.999)) + 1.645 / math.sqrt(shared - 3)
    return high < math.atanh(min(consensus, 0.999))


def _median_correlation(ratings: FloatArray) -> float:
    """Median over these raters of the correlation with the others among them; NaN if undefined."""
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


def _one_sided(rater: str, own: Sequence[Response]) -> list[RaterFlag]:
    """Flag a rater who picks the left or the right edit far more often than chance allows (binomial test)."""
    left, right = (sum(response.value == side for response in own) for side in "AB")
    decided = left + right
    if decided < MIN_ANSWERS or max(left, right) < SIDE_SHARE * decided or binomtest(left, decided).pvalue > SIDE_P:
        return []
    side, count = ("left", left) if left > right else ("right", right)
    return [RaterFlag(rater, f"always {side}", f"{count} of {decided} choices are the {side} one")]


def _one_answer(rater: str, own: Sequence[Response], others: Sequence[Response]) -> list[RaterFlag]:
    """Flag a rater who answers "tie" or "both bad" to everything, unless the others do so on the same pairs."""
    pairs = {frozenset(response.edits) for response in own}
    theirs = [response.value for response in others if frozenset(response.edits) in pairs]
    for vote in VOTES[2:]:
        count, shared = sum(response.value == vote for response in own), theirs.count(vote)
        if len(own) >= MIN_ANSWERS and count >= SAME_SHARE * len(own) and 2 * shared <= len(theirs):
            return [RaterFlag(rater, f"always {vote}", f"{count} of {len(own)} answers are {vote}")]
    return []


def _equal_choices(own: Sequence[Response], others: Sequence[Response]) -> tuple[int, int]:
    """(equal, all) pairs of a rater's vote and another rater's on the same two edits, both for A or B."""
    by_item: dict[frozenset[str], list[tuple[str, str]]] = {}
    for response in others:
        if response.value in VOTES[:2]:
            by_item.setdefault(frozenset(response.edits), []).append((response.rater, oriented_vote(response)))
    equal = pairs = 0
    for response in own:
        if response.value in VOTES[:2]:
            given = [vote for rater, vote in by_item.get(frozenset(response.edits), []) if rater != response.rater]
            equal += given.count(oriented_vote(response))
            pairs += len(given)
    return equal, pairs
