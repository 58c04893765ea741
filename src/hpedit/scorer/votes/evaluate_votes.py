"""Combine judges that vote between two edits, and measure the combination against people's votes.

Nested cross-validation by source: in each outer fold, the judges with signal, the ridge penalty and the best single
judge are chosen without the pairs that are then predicted. Pairs that people decided, called a tie or found both bad
are reported apart, with the confusion matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.ratings.responses import VOTES
from hpedit.scorer.votes.judge_selection import FOLDS, VoteSignal, fit_combination, folds_by_source
from hpedit.scorer.votes.vote_model import MISSING, VoteModel, most_probable_vote
from hpedit.scorer.votes.vote_table import VoteTable, load_votes
from hpedit.stats.bootstrap import FloatArray, IntArray, bootstrap_by_source, weighted_mean
from hpedit.store.atomic import atomic_write, write_json
from hpedit.store.csv_rows import csv_text

MIN_PAIRS, MIN_SOURCES = 40, 2 * FOLDS
"""Fewer can't be split twice."""
MIN_COVERAGE = 0.5
"""A judge that voted on a smaller share of the pairs can't be the best one: few pairs make lucky figures."""
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class _Held:
    """Out-of-fold predictions of people's votes."""

    probabilities: FloatArray
    best: IntArray
    """(n,) column of the judge that was best in the other folds."""
    chosen: list[list[str]]
    """By fold, the judges that had signal."""


def evaluate_votes(
    edits: Path, votes: Path, judge_votes: Path, out: Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Combine the voting judges of a table and measure the combination.

    Args:
        edits: CSV of edits: edit_id, source_id.
        votes: CSV of people's votes: edit_a, edit_b, rater, vote.
        judge_votes: CSV of judges' votes: edit_a, edit_b, judge, vote.
        out: folder for combination.json (fitted on all pairs) and predictions.csv (out-of-fold where people voted; for
            pairs that only judges voted on, by the fitted combination).
        seed: of folds and intervals.

    Returns:
        JSON values: pairs, sources, what was left out; accuracy of the 4-way answer, out-of-fold, with its interval;
        the same on pairs that people decided, tied, and found both bad; direction, the share of decided pairs whose
        better edit gets more probability (equal: half); confusion, people's answer (rows) by predicted one;
        best_single and best_in_hindsight, each against the combination on the same pairs; every judge with its
        accuracy, verdict and weight.

    Raises:
        HPEditError: the tables cannot be used (see `load_votes`), or are too small to be split by source.
    """
    table = load_votes(edits, votes, judge_votes)
    rows = np.flatnonzero(table.human != MISSING)
    sources = [table.sources[row] for row in rows.tolist()]
    if len(rows) < MIN_PAIRS or len(set(sources)) < MIN_SOURCES:
        raise HPEditError(
            f"people voted on {len(rows)} pairs of {len(set(sources))} sources",
            hint=f"at least {MIN_PAIRS} pairs of {MIN_SOURCES} sources are needed",
        )
    held = _predict_held_out(table.votes[rows], table.human[rows], sources, table.judges, seed)
    model, signals = fit_combination(table.votes[rows], table.human[rows], sources, table.judges, seed)
    report = _report(table, rows, sources, held, seed)
    report["judges"] = _judges(table, rows, sources, held, model, signals, seed)
    if out is not None:
        _write(out, table, rows, held, model)
    return report


def _predict_held_out(
    votes: IntArray, human: IntArray, sources: Sequence[str], judges: Sequence[str], seed: int
) -> _Held:
    folds = folds_by_source(sources, seed)
    probabilities, best = np.full((len(human), len(VOTES)), np.nan), np.zeros(len(human), dtype=np.int64)
    chosen = []
    for fold in range(FOLDS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model, _ = fit_combination(votes[train], human[train], [sources[row] for row in train.tolist()], judges, seed)
        probabilities[test] = model.predict(votes[test][:, _columns(model, judges)])
        best[test] = best_judge(votes[train], human[train])
        chosen.append(list(model.judges))
    return _Held(probabilities, best, chosen)


def best_judge(votes: IntArray, human: IntArray) -> int:
    """Column of the judge with the highest 4-way accuracy where it voted, among those with enough votes."""
    there = votes != MISSING
    accuracy = ((votes == human[:, None]) & there).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    covered = there.mean(axis=0) >= MIN_COVERAGE
    return int(np.argmax(np.where(covered, accuracy, accuracy - 1.0)))


def _report(table: VoteTable, rows: IntArray, sources: Sequence[str], held: _Held, seed: int) -> dict[str, Any]:
    human, votes = table.human[rows], table.votes[rows]
    answer = most_probable_vote(held.probabilities)
    right = (answer == human).astype(np.float64)
    lead = held.probabilities[:, 0] - held.probabilities[:, 1]
    hindsight = best_judge(votes, human)
    return {
        "pairs": len(rows),
        "sources": len(set(sources)),
        "left_out": _left_out(table),
        "cycles": table.cycles,
        "accuracy": _share(right, sources, seed),
        "by_answer": _by_answer(right, human, sources, seed),
        "direction": _share(_direction(np.sign(lead), human), sources, seed),
        "confusion": vote_confusion(human, answer),
        "people": {vote: int((human == number).sum()) for number, vote in enumerate(VOTES)},
        "best_single": {
            "chosen": [table.judges[number] for number in sorted(set(held.best.tolist()))],
            **_against(right, votes[np.arange(len(rows)), held.best], human, sources, seed),
        },
        "best_in_hindsight": {
            "judge": table.judges[hindsight],
            **_against(right, votes[:, hindsight], human, sources, seed),
        },
        "chosen_by_fold": held.chosen,
    }


def _direction(side: FloatArray, human: IntArray) -> FloatArray:
    """1 if the edit that people chose is preferred, 0 if the other is, half if neither; NaN unless people chose."""
    return np.where(human <= 1, (side * np.where(human == 0, 1, -1) + 1) / 2, np.nan)


def _by_answer(right: FloatArray, human: IntArray, sources: Sequence[str], seed: int) -> dict[str, Any]:
    """4-way accuracy on the pairs that people decided, called a tie, and found both bad."""
    parts = {"decided": human <= 1, "tie": human == 2, "both_bad": human == 3}
    return {name: _share(np.where(part, right, np.nan), sources, seed) for name, part in parts.items()}


def vote_confusion(human: IntArray, answer: IntArray) -> dict[str, dict[str, int]]:
    """Confusion matrix of votes: how often people's vote (outer key) was predicted as which (inner)."""
    return {
        given: {said: int(((human == row) & (answer == column)).sum()) for column, said in enumerate(VOTES)}
        for row, given in enumerate(VOTES)
    }


def _against(right: FloatArray, votes: IntArray, human: IntArray, sources: Sequence[str], seed: int) -> dict[str, Any]:
    """One judge against the combination, on the pairs on which the judge voted."""
    there = votes != MISSING
    own = np.where(there, votes == human, np.nan)
    side = (votes == 0).astype(np.float64) - (votes == 1)
    return {
        "votes": int(there.sum()),
        "accuracy": _share(own, sources, seed),
        "by_answer": _by_answer(own, human, sources, seed),
        "direction": _share(np.where(there, _direction(side, human), np.nan), sources, seed),
        "combined": _share(np.where(there, right, np.nan), sources, seed),
        "gain": _share(right - own, sources, seed),
    }


def _judges(
    table: VoteTable,
    rows: IntArray,
    sources: Sequence[str],
    held: _Held,
    model: VoteModel,
    signals: dict[str, VoteSignal],
    seed: int,
) -> dict[str, Any]:
    """By judge: its accuracy and the combination's on the same pairs, and its weight."""
    right = (most_probable_vote(held.probabilities) == table.human[rows]).astype(np.float64)
    weights = dict(zip(model.judges, model.weight().tolist(), strict=True))
    total = sum(weights.values())
    result = {}
    for column, judge in enumerate(table.judges):
        first, choices = table.machines.first_shown.get(judge, (0, 0))
        result[judge] = {
            **_against(right, table.votes[rows, column], table.human[rows], sources, seed),
            "verdict": "no signal" if signals[judge].reason else "ok",
            "reason": signals[judge].reason,
            "weight": weights.get(judge, 0.0) / total if total else 0.0,
            "first_shown": first / choices if choices else None,
            "contradictory": table.machines.contradictory.get(judge, 0),
        }
    return result


def _left_out(table: VoteTable) -> dict[str, int]:
    return {
        "pairs_without_people": int((table.human == MISSING).sum()) - table.undecided,
        "pairs_undecided_by_people": table.undecided,
        "pairs_contradicted_by_a_person": sum(table.people.contradictory.values()),
        "repeated_votes": table.people.repeated + table.machines.repeated,
        "missing_votes": table.people.missing + table.machines.missing,
    }


def _write(out: Path, table: VoteTable, rows: IntArray, held: _Held, model: VoteModel) -> None:
    """Write combination.json and predictions.csv."""
    if out.exists() and not out.is_dir():
        raise HPEditError(f"{out} is a file", hint="choose another folder for --out")
    probabilities = model.predict(table.votes[:, _columns(model, table.judges)])
    probabilities[rows] = held.probabilities
    answers = most_probable_vote(probabilities)
    people = {row: VOTES[table.human[row]] for row in rows.tolist()}
    header = ("edit_a", "edit_b", *(f"p_{vote}" for vote in VOTES), "vote", "people")
    lines = [
        (*pair, *(f"{p:.6f}" for p in probabilities[row]), VOTES[answers[row]], people.get(row, ""))
        for row, pair in enumerate(table.pairs)
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "combination.json", model.to_json())
    atomic_write(out / "predictions.csv", csv_text(header, lines))


def _columns(model: VoteModel, judges: Sequence[str]) -> list[int]:
    return [list(judges).index(judge) for judge in model.judges]


def _share(values: FloatArray, sources: Sequence[str], seed: int) -> dict[str, Any]:
    """Mean without NaN, its interval by source, and the number of pairs."""
    estimate = bootstrap_by_source(values, sources, weighted_mean, seed, RESAMPLES)
    return {**estimate.as_dict(), "n": estimate.n}
