"""Which of two edits people prefer: pairs for offline DPO, from scores and from votes.

    preferences, report = decide_pairs(responses, case_of, picture_of, PairRules())

Two edits of one case make a pair where people tell them apart:

- Votes on the pair decide, by the plurality of raters' weights over A, B, tie and both bad. A rater's equal votes on it
  count once, with the sides exchanged too; a rater who voted differently on it has no vote.
- Else scores decide, by the mean difference within the raters who scored both, in which a rater's own scale cancels;
  where nobody scored both, by the difference of the means.
- No pair: a tie, both bad (by votes, or the better one's mean is no more than the floor), a difference below the
  margin, as much weight against as for it, votes and scores that contradict each other, two pictures that are equal.
- Preferences that run in a circle (a > b > c > a) can't all hold. Either all of a circle are left out, or its weakest
  are, until none is left.

Sums are exactly rounded and everything is sorted, so that the order of the answers has no effect.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, TypeVar

from hpedit.cases.pairs.circles import break_circles
from hpedit.errors import HPEditError
from hpedit.ratings.responses import SWAPPED_VOTE, VOTES, Response

K = TypeVar("K")
V = TypeVar("V")

Pair = tuple[str, str]
"""Two edit ids, in ascending order."""
TOLERANCE = 1e-9
"""Of comparisons with a bound: a mean of thirds is no whole number in binary."""
EXAMPLES = 20
"""Circles, and unknown edits, that the report names; all are counted."""


@dataclass(frozen=True, slots=True)
class PairRules:
    """What it takes to be a pair."""

    margin: float = 1.0
    """Points (0 to 5) between the two edits, at least; of scores alone. Above 0."""
    floor: float = 2.0
    """Both are bad where the better edit's mean score is no more than this; of scores alone."""
    lead: float = 0.0
    """Share of the weight (0 to 1) by which the winner leads the loser, at least; of votes alone."""
    circles: Literal["drop", "weakest"] = "drop"
    """drop: all preferences of a circle; weakest: those of the least weight in it."""
    rater_weights: Mapping[str, float] = field(default_factory=dict)
    """By rater, 0 or more; whoever is not named has 1, who has 0 is not heard."""

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense (HPEditError)."""
        if not 0.0 < self.margin <= 5.0:
            raise HPEditError(
                f"the margin is {self.margin}", hint="it lies above 0, where edits are equal, and up to 5"
            )
        if not 0.0 <= self.floor < 5.0:
            raise HPEditError(f"the floor is {self.floor}", hint="it is a score: 0, or more and below 5")
        if not 0.0 <= self.lead <= 1.0:
            raise HPEditError(f"the lead is {self.lead}", hint="it is a share of the raters, 0 to 1")
        for rater, weight in self.rater_weights.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise HPEditError(f"rater {rater!r} has weight {weight}", hint="a weight is 0 or more")

    def weight(self, rater: str) -> float:
        """Of one rater."""
        return self.rater_weights.get(rater, 1.0)


@dataclass(frozen=True, slots=True)
class Preference:
    """One edit that people prefer to another of the same case."""

    case_id: str
    chosen: str
    rejected: str
    weight: float
    """Above 0, at most 1: the share of raters' weight for it less the share against it; ties count in the whole."""
    basis: Literal["votes", "same raters", "different raters"]
    raters: int
    margin: float | None = None
    """Points between the two; None for votes."""
    simulated: bool = False
    """Whether any answer behind it came from no person."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What each rater says, once."""

    scores: Mapping[str, Mapping[str, float]]
    """By edit and rater."""
    votes: Mapping[Pair, Mapping[str, str]]
    """By pair and rater, as if shown in the order of the ids."""
    simulated: frozenset[str]
    """Raters of whom any answer is simulated."""
    left_out: Mapping[str, Any]


def decide_pairs(
    responses: Iterable[Response], case_of: Mapping[str, str], picture_of: Mapping[str, str], rules: PairRules
) -> tuple[list[Preference], dict[str, Any]]:
    """All pairs, in the order of case and edit ids, and what became of everything else.

    Args:
        responses: Scores and votes, in any order.
        case_of: The case of each edit.
        picture_of: Something that is equal for edits with the same picture, as a hash of it.
        rules: What it takes.

    Returns:
        The preferences, and a report: pairs, cases, raters, basis (by kind), simulated, left_out (pairs by reason),
        circles (their number, pairs that were left out, examples), repeated and contradictory answers, unknown edits.

    Raises:
        HPEditError: a vote is between edits of two cases, or no pair is left.
    """
    answers = _collect(responses, case_of, rules)
    found: list[Preference] = []
    left_out: Counter[str] = Counter()
    for first, second in _candidates(answers, case_of):
        if picture_of[first] == picture_of[second]:
            left_out["same picture"] += 1
            continue
        fate = _decide((first, second), case_of[first], answers, rules)
        if isinstance(fate, str):
            left_out[fate] += 1
        else:
            found.append(fate)
    kept, circles = _without_circles(found, rules)
    left_out["in a circle"] += len(found) - len(kept)
    if not kept:
        raise _nothing_left(left_out, answers)
    report = {
        "pairs": len(kept),
        "cases": len({preference.case_id for preference in kept}),
        "raters": len({rater for own in (*answers.scores.values(), *answers.votes.values()) for rater in own}),
        "basis": dict(sorted(Counter(preference.basis for preference in kept).items())),
        "simulated": sum(preference.simulated for preference in kept),
        "left_out": dict(sorted((+left_out).items())),
        "circles": {"count": len(circles), "pairs": len(found) - len(kept), "examples": circles[:EXAMPLES]},
        **answers.left_out,
    }
    return kept, report


def _nothing_left(left_out: Counter[str], answers: _Answers) -> HPEditError:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted((+left_out).items()))
    if not reasons:
        unknown = answers.left_out["unknown_edits"]["count"]
        reasons = f"no two answers are about edits of one case; {unknown} rated edits are not among the edits"
    return HPEditError(
        f"no pair is left ({reasons})",
        hint="pairs need several edits of one case, told apart by people: lower --margin, or collect more answers",
    )


def _collect(responses: Iterable[Response], case_of: Mapping[str, str], rules: PairRules) -> _Answers:
    """Bring answers to what each rater says; retests, practice, skips and what was taken back are left out."""
    scores: dict[str, dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    votes: dict[Pair, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    given, unknown, simulated = 0, set(), set()
    for response in responses:
        if not response.counts or response.phase == "retest" or response.value is None:
            continue
        strangers = [edit for edit in response.edits if edit not in case_of]
        unknown.update(strangers)
        if strangers or rules.weight(response.rater) == 0.0:
            continue
        given += 1
        if response.simulated:
            simulated.add(response.rater)
        if response.kind == "score":
            scores[response.edits[0]][response.rater].add(float(response.value))
        else:
            pair, vote = _turned(response, case_of)
            votes[pair][response.rater].add(vote)
    said = _said(scores) + _said(votes)
    torn = Counter(rater for rater, count in said if count > 1)
    return _Answers(
        scores=_single(scores),
        votes=_single(votes),
        simulated=frozenset(simulated),
        left_out={
            "repeated": given - sum(count for _, count in said),
            "contradictory": dict(sorted(torn.items())),
            "unknown_edits": {"count": len(unknown), "examples": sorted(unknown)[:EXAMPLES]},
        },
    )


def _said(table: Mapping[K, Mapping[str, set[V]]]) -> list[tuple[str, int]]:
    """For each rater's answers to one thing, how many different ones."""
    return [(rater, len(said)) for own in table.values() for rater, said in own.items()]


def _single(table: Mapping[K, Mapping[str, set[V]]]) -> dict[K, dict[str, V]]:
    """What each rater says where that is one thing."""
    return {
        key: {rater: next(iter(said)) for rater, said in sorted(own.items()) if len(said) == 1}
        for key, own in table.items()
    }


def _turned(response: Response, case_of: Mapping[str, str]) -> tuple[Pair, str]:
    """A vote's pair, and the vote as if it had been shown in the order of the ids."""
    first, second = response.edits
    if case_of[first] != case_of[second]:
        raise HPEditError(
            f"{response.where or 'a vote'}: edits {first} and {second} are of the cases {case_of[first]} and "
            f"{case_of[second]}",
            hint="a preference is between two edits of one case",
        )
    vote = str(response.value)
    return ((first, second), vote) if first < second else ((second, first), SWAPPED_VOTE[vote])


def _candidates(answers: _Answers, case_of: Mapping[str, str]) -> list[Pair]:
    """Every two edits of a case that were voted on, or both scored, by case and ids."""
    groups: dict[str, list[str]] = defaultdict(list)
    for edit, own in sorted(answers.scores.items()):
        if own:
            groups[case_of[edit]].append(edit)
    scored = {pair for group in groups.values() for pair in combinations(group, 2)}
    voted = {pair for pair, own in answers.votes.items() if own}
    return sorted(scored | voted, key=lambda pair: (case_of[pair[0]], pair))


def _decide(pair: Pair, case_id: str, answers: _Answers, rules: PairRules) -> Preference | str:
    """The preference between two edits, or why there is none."""
    votes = answers.votes.get(pair)
    both = [answers.scores.get(edit, {}) for edit in pair]
    by_scores = _by_scores(pair, case_id, both, rules) if all(both) else "not scored"
    raters = {rater for own in both for rater in own} | set(votes or ())
    fate = _by_votes(pair, case_id, votes, rules) if votes else by_scores
    if isinstance(fate, str):
        return fate
    if isinstance(by_scores, Preference) and by_scores.chosen != fate.chosen:
        return "votes against scores"
    simulated = bool(raters & answers.simulated)
    return Preference(
        fate.case_id, fate.chosen, fate.rejected, fate.weight, fate.basis, fate.raters, fate.margin, simulated
    )


def _by_votes(pair: Pair, case_id: str, votes: Mapping[str, str], rules: PairRules) -> Preference | str:
    totals = {
        answer: math.fsum(rules.weight(rater) for rater, vote in votes.items() if vote == answer) for answer in VOTES
    }
    most = max(totals.values())
    winners = [answer for answer, total in totals.items() if math.isclose(total, most, rel_tol=TOLERANCE)]
    if len(winners) > 1:
        return "no plurality"
    if winners[0] not in VOTES[:2]:
        return "tie" if winners[0] == "tie" else "both bad"
    chosen, rejected = pair if winners[0] == "A" else pair[::-1]
    lead = abs(totals["A"] - totals["B"]) / math.fsum(totals.values())
    if lead < rules.lead - TOLERANCE:
        return "below the lead"
    return Preference(case_id, chosen, rejected, lead, "votes", len(votes))


def _by_scores(pair: Pair, case_id: str, both: Sequence[Mapping[str, float]], rules: PairRules) -> Preference | str:
    means = [_mean({rater: (rules.weight(rater), score) for rater, score in own.items()}) for own in both]
    shared = sorted(set(both[0]) & set(both[1]))
    if shared:
        differences = {rater: (rules.weight(rater), both[0][rater] - both[1][rater]) for rater in shared}
    else:
        # One rater of the first edit against one of the second, every two of them.
        differences = {
            f"{one}\0{other}": (rules.weight(one) * rules.weight(other), both[0][one] - both[1][other])
            for one in both[0]
            for other in both[1]
        }
    margin = _mean(differences)
    if abs(margin) < TOLERANCE:
        return "tie"
    if max(means) <= rules.floor + TOLERANCE:
        return "both bad"
    if abs(margin) < rules.margin - TOLERANCE:
        return "below the margin"
    signs = {
        name: (weight, math.copysign(1.0, value * margin) if value else 0.0)
        for name, (weight, value) in differences.items()
    }
    support = _mean(signs)
    if support <= TOLERANCE:
        return "raters contradict each other"
    chosen, rejected = pair if margin > 0 else pair[::-1]
    raters = len(shared) if shared else len(set(both[0]) | set(both[1]))
    basis: Literal["same raters", "different raters"] = "same raters" if shared else "different raters"
    return Preference(case_id, chosen, rejected, support, basis, raters, abs(margin))


def _mean(weighted: Mapping[str, tuple[float, float]]) -> float:
    total = math.fsum(weight for weight, _ in weighted.values())
    return math.fsum(weight * value for weight, value in weighted.values()) / total


def _without_circles(found: Sequence[Preference], rules: PairRules) -> tuple[list[Preference], list[str]]:
    """The preferences that can all hold, and a name for each circle that there was."""
    groups: dict[str, list[Preference]] = defaultdict(list)
    for preference in found:
        groups[preference.case_id].append(preference)
    kept: list[Preference] = []
    named: list[str] = []
    for case_id, group in sorted(groups.items()):
        edges = {(preference.chosen, preference.rejected): preference.weight for preference in group}
        left, circles = break_circles(edges, weakest=rules.circles == "weakest")
        kept += [preference for preference in group if (preference.chosen, preference.rejected) in left]
        named += [f"case {case_id}: {' > '.join(circle)}" for circle in circles]
    return kept, named
