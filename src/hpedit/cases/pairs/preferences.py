"""Decide preference pairs for offline DPO from people's scores and votes.

    preferences, report = decide_pairs(responses, case_of, picture_of, PairRules())

Two edits of one case make a pair if people prefer one:

- Votes on the pair decide, by the plurality of raters' weights over A, B, tie and both bad. Repeated equal votes of a
  rater, also with the sides swapped, count once; a rater with contradictory votes has none.
- Else scores decide, by the mean difference within the raters who scored both, where a rater's own scale cancels;
  if nobody scored both, by the difference of the means.
- No pair: a tie, both bad (by votes, or the better one's mean is at most the floor), a difference below the margin, as
  much weight against as for it, votes and scores that contradict each other, two equal pictures.
- Preferences that form a cycle (a > b > c > a) can't all hold: either the whole cycle is dropped, or its weakest
  preferences until no cycle is left.

Sums are exactly rounded (fsum) and everything is sorted: the order of the answers has no effect.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any, Literal, TypeVar

from hpedit.cases.pairs.cycles import break_cycles
from hpedit.errors import HPEditError
from hpedit.ratings.responses import SWAPPED_VOTE, VOTES, Response

K = TypeVar("K")
V = TypeVar("V")

Pair = tuple[str, str]
"""Two edit ids, in ascending order."""
TOLERANCE = 1e-9
"""Of comparisons with a bound: means of thirds are inexact in binary."""
EXAMPLES = 20
"""Cycles and unknown edits that the report names; all are counted."""


@dataclass(frozen=True, slots=True)
class PairRules:
    """Thresholds and rater weights for preference pairs."""

    margin: float = 1.0
    """Minimum difference in points (above 0, up to 5); for scores only."""
    floor: float = 2.0
    """Both are bad if the better edit's mean score is at most this; for scores only."""
    lead: float = 0.0
    """Minimum lead of the winner as a share of the weight (0 to 1); for votes only."""
    circles: Literal["drop", "weakest"] = "drop"
    """Preference cycles: drop all of a cycle, or its weakest preferences."""
    rater_weights: Mapping[str, float] = field(default_factory=dict)
    """By rater, 0 or more; 1 for raters not named, 0 ignores a rater."""

    def __post_init__(self) -> None:
        """Check the ranges; HPEditError."""
        if not 0.0 < self.margin <= 5.0:
            raise HPEditError(f"the margin is {self.margin}", hint="choose above 0, up to 5")
        if not 0.0 <= self.floor < 5.0:
            raise HPEditError(f"the floor is {self.floor}", hint="choose a score from 0 to below 5")
        if not 0.0 <= self.lead <= 1.0:
            raise HPEditError(f"the lead is {self.lead}", hint="choose a share of the weight, 0 to 1")
        for rater, weight in self.rater_weights.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise HPEditError(f"rater {rater!r} has weight {weight}", hint="a weight is 0 or more")

    def weight(self, rater: str) -> float:
        """Weight of one rater."""
        return self.rater_weights.get(rater, 1.0)


@dataclass(frozen=True, slots=True)
class Preference:
    """A preference between two edits of one case."""

    case_id: str
    chosen: str
    rejected: str
    weight: float
    """In (0, 1]: raters' share of weight for it minus the share against it; ties count in the total."""
    basis: Literal["votes", "same raters", "different raters"]
    raters: int
    margin: float | None = None
    """Difference in points; None for votes."""
    simulated: bool = False
    """Whether any answer behind it is simulated."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """One answer of each rater for each edit and pair."""

    scores: Mapping[str, Mapping[str, float]]
    """By edit and rater."""
    votes: Mapping[Pair, Mapping[str, str]]
    """By pair and rater, turned to the order of the ids."""
    simulated: frozenset[str]
    """Raters with any simulated answer."""
    left_out: Mapping[str, Any]


def decide_pairs(
    responses: Iterable[Response], case_of: Mapping[str, str], picture_of: Mapping[str, str], rules: PairRules
) -> tuple[list[Preference], dict[str, Any]]:
    """Decide all preference pairs, in the order of case and edit ids, and report what was left out.

    Args:
        responses: Scores and votes, in any order.
        case_of: The case of each edit.
        picture_of: A hash of each edit's picture.
        rules: Thresholds and rater weights.

    Returns:
        The preferences, and a report: pairs, cases, raters, basis (by kind), simulated, left_out (pairs by reason),
        circles (number of cycles, pairs left out, examples), repeated and contradictory answers, unknown edits.

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
        decision = _decide((first, second), case_of[first], answers, rules)
        if isinstance(decision, str):
            left_out[decision] += 1
        else:
            found.append(decision)
    kept, circles = _without_cycles(found, rules)
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
        reasons = f"no two answers compare edits of one case; {unknown} rated edits are unknown"
    return HPEditError(
        f"no pair is left ({reasons})",
        hint="pairs need several edits of one case with different answers: lower --margin, or collect more answers",
    )


def _collect(responses: Iterable[Response], case_of: Mapping[str, str], rules: PairRules) -> _Answers:
    """Reduce responses to one answer per rater; retests, practice, skipped and withdrawn ones are left out."""
    scores: dict[str, dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    votes: dict[Pair, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    given, unknown, simulated = 0, set(), set()
    for response in responses:
        if not response.counts or response.phase == "retest" or response.value is None:
            continue
        missing = [edit for edit in response.edits if edit not in case_of]
        unknown.update(missing)
        if missing or rules.weight(response.rater) == 0.0:
            continue
        given += 1
        if response.simulated:
            simulated.add(response.rater)
        if response.kind == "score":
            scores[response.edits[0]][response.rater].add(float(response.value))
        else:
            pair, vote = _turned(response, case_of)
            votes[pair][response.rater].add(vote)
    tables: list[Mapping[str, Collection[object]]] = [*scores.values(), *votes.values()]
    distinct = [(rater, len(said)) for own in tables for rater, said in own.items()]
    contradictory = Counter(rater for rater, count in distinct if count > 1)
    left_out = {
        "repeated": given - sum(count for _, count in distinct),
        "contradictory": dict(sorted(contradictory.items())),
        "unknown_edits": {"count": len(unknown), "examples": sorted(unknown)[:EXAMPLES]},
    }
    return _Answers(_consistent(scores), _consistent(votes), frozenset(simulated), left_out)


def _consistent(table: Mapping[K, Mapping[str, set[V]]]) -> dict[K, dict[str, V]]:
    """Each rater's answer where it is always the same."""
    return {
        key: {rater: next(iter(said)) for rater, said in sorted(own.items()) if len(said) == 1}
        for key, own in table.items()
    }


def _turned(response: Response, case_of: Mapping[str, str]) -> tuple[Pair, str]:
    """A vote's pair in the order of the ids, and the vote turned accordingly."""
    first, second = response.edits
    if case_of[first] != case_of[second]:
        cases = f"edits {first} and {second} belong to the cases {case_of[first]} and {case_of[second]}"
        where = response.where or "a vote"
        raise HPEditError(f"{where}: {cases}", hint="a preference is between two edits of one case")
    vote = str(response.value)
    return ((first, second), vote) if first < second else ((second, first), SWAPPED_VOTE[vote])


def _candidates(answers: _Answers, case_of: Mapping[str, str]) -> list[Pair]:
    """All pairs of edits of a case that were voted on, or both scored, by case and ids."""
    groups: dict[str, list[str]] = defaultdict(list)
    for edit, own in sorted(answers.scores.items()):
        if own:
            groups[case_of[edit]].append(edit)
    scored = {pair for group in groups.values() for pair in combinations(group, 2)}
    voted = {pair for pair, own in answers.votes.items() if own}
    return sorted(scored | voted, key=lambda pair: (case_of[pair[0]], pair))


def _decide(pair: Pair, case_id: str, answers: _Answers, rules: PairRules) -> Preference | str:
    """The preference between two edits, or the reason for none."""
    votes = answers.votes.get(pair)
    both = [answers.scores.get(edit, {}) for edit in pair]
    by_scores = _by_scores(pair, case_id, both, rules) if all(both) else "not scored"
    raters = {rater for own in both for rater in own} | set(votes or ())
    decision = _by_votes(pair, case_id, votes, rules) if votes else by_scores
    if isinstance(decision, str):
        return decision
    if isinstance(by_scores, Preference) and by_scores.chosen != decision.chosen:
        return "votes against scores"
    return replace(decision, simulated=bool(raters & answers.simulated))


def _by_votes(pair: Pair, case_id: str, votes: Mapping[str, str], rules: PairRules) -> Preference | str:
    totals = {name: math.fsum(rules.weight(rater) for rater, vote in votes.items() if vote == name) for name in VOTES}
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
    means = [_mean([(rules.weight(rater), score) for rater, score in own.items()]) for own in both]
    shared = sorted(set(both[0]) & set(both[1]))
    if shared:
        differences = [(rules.weight(rater), both[0][rater] - both[1][rater]) for rater in shared]
    else:
        # Each rater of the first edit against each of the second.
        differences = [
            (rules.weight(one) * rules.weight(other), both[0][one] - both[1][other])
            for one, other in product(both[0], both[1])
        ]
    margin = _mean(differences)
    if abs(margin) < TOLERANCE:
        return "tie"
    if max(means) <= rules.floor + TOLERANCE:
        return "both bad"
    if abs(margin) < rules.margin - TOLERANCE:
        return "below the margin"
    support = _mean([(weight, math.copysign(1.0, value * margin) if value else 0.0) for weight, value in differences])
    if support <= TOLERANCE:
        return "raters contradict each other"
    chosen, rejected = pair if margin > 0 else pair[::-1]
    raters = len(shared) if shared else len(set(both[0]) | set(both[1]))
    basis: Literal["same raters", "different raters"] = "same raters" if shared else "different raters"
    return Preference(case_id, chosen, rejected, support, basis, raters, abs(margin))


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Weighted mean of (weight, value) pairs."""
    return math.fsum(weight * value for weight, value in weighted) / math.fsum(weight for weight, _ in weighted)


def _without_cycles(found: Sequence[Preference], rules: PairRules) -> tuple[list[Preference], list[str]]:
    """The preferences left without cycles, and a description of each cycle."""
    groups: dict[str, list[Preference]] = defaultdict(list)
    for preference in found:
        groups[preference.case_id].append(preference)
    kept: list[Preference] = []
    named: list[str] = []
    for case_id, group in sorted(groups.items()):
        edges = {(preference.chosen, preference.rejected): preference.weight for preference in group}
        left, cycles = break_cycles(edges, weakest=rules.circles == "weakest")
        kept += [preference for preference in group if (preference.chosen, preference.rejected) in left]
        named += [f"case {case_id}: {' > '.join(cycle)}" for cycle in cycles]
    return kept, named
