"""Nested cross-validation of a calibration fit: what it chose, and its gain over the alternatives on unseen photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.scorer.calibration.base_selection import folds
from hpedit.scorer.calibration.calibration import JudgeCalibration
from hpedit.scorer.calibration.ensemble import fit_ensemble
from hpedit.scorer.calibration.judge_table import JudgeTable
from hpedit.stats.bootstrap import FloatArray, IntArray, bootstrap_by_source, weighted_pearson
from hpedit.stats.correlation import Resamples, count_pairs, pairwise_shares

RAW = "raw"
SCORER = "scorer"


def describe_choice(
    tables: Sequence[JudgeTable],
    parts: Sequence[JudgeCalibration],
    scores: FloatArray,
    by_judge: FloatArray,
    singles: Sequence[dict[str, FloatArray]],
    chosen: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Report what a fit chose: compare the scorer with its parts and with each judge alone.

    Args:
        tables: rated edits, one table a judge.
        parts: what was fitted.
        scores: (n,) of the scorer, each by a fit without the edit's photo; so are all that follow.
        by_judge: (n, j) of each judge's part.
        singles: for each judge, (n,) of each family alone.
        chosen: for each judge, the families chosen in each fold of the outer cross-validation.

    Returns:
        JSON values: "scorer" {"rmse", "pearson", "pairwise_accuracy"}; "judges": for each, "won" (the families),
        "folds" (those of each outer fold), "settings", "candidates" ({family, "chosen" or "raw": the three measures};
        "chosen" is the whole procedure for that judge alone, "raw" its own overall score), and "gain" of the scorer
        over each: its measures minus the candidate's, Pearson's with its interval by photo.
    """
    data = tables[0].data
    report: dict[str, Any] = {SCORER: _measures(scores, data.target, data.sources), "judges": {}}
    for number, (table, part) in enumerate(zip(tables, parts, strict=True)):
        raw = table.data.answers[:, 0]
        candidates = {RAW: raw, **singles[number], "chosen": by_judge[:, number]}
        report["judges"][part.judge] = {
            "won": part.base.name,
            "folds": list(chosen[number]),
            "settings": part.base.settings,
            "candidates": {name: _measures(own, data.target, data.sources) for name, own in candidates.items()},
            "gain": {name: _gain(scores, own, data.target, data.sources) for name, own in candidates.items()},
        }
    return report


def _measures(scores: FloatArray, target: FloatArray, sources: Sequence[str]) -> dict[str, float | None]:
    known = np.flatnonzero(~np.isnan(scores))
    own, rated = scores[known], target[known]
    draws = Resamples.of([sources[row] for row in known.tolist()], resamples=0)
    pairs = pairwise_shares(draws.sums(count_pairs(own, rated, draws.index)[:, :3]))["pairwise_accuracy"]
    correlation = weighted_pearson(np.column_stack([own, rated]), np.ones((1, len(known))))
    return {
        "rmse": _number(float(np.sqrt(np.mean((own - rated) ** 2)))),
        "pearson": _number(float(correlation[0])),
        "pairwise_accuracy": _number(float(pairs[0])),
    }


def _gain(scores: FloatArray, other: FloatArray, target: FloatArray, sources: Sequence[str]) -> dict[str, Any]:
    """The scorer's measures minus another's, on edits that both scored."""
    both = np.flatnonzero(~np.isnan(scores) & ~np.isnan(other))
    names = [sources[row] for row in both.tolist()]
    own, rival = (_measures(values[both], target[both], names) for values in (scores, other))
    table = np.column_stack([scores, target, other])[both]

    def difference(values: FloatArray, weights: FloatArray) -> FloatArray:
        return weighted_pearson(values[:, :2], weights) - weighted_pearson(values[:, [2, 1]], weights)

    pearson = bootstrap_by_source(table, names, difference, n=500)
    return {
        "pearson": pearson.as_dict(),
        **{key: _minus(own[key], rival[key]) for key in ("rmse", "pairwise_accuracy")},
    }


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Nested:
    """Predictions for every edit by models that were chosen and fitted without its photo; NaN = unscorable."""

    scores: FloatArray
    """(n,)"""
    parts: FloatArray
    """(n, j) of each judge."""
    singles: list[dict[str, FloatArray]]
    """For each judge, (n,) by each model family alone."""
    chosen: list[list[str]]
    """For each judge, the families chosen in each fold."""


def nested_scores(tables: Sequence[JudgeTable], rows: IntArray) -> Nested:
    """Nested cross-validation: choose and fit again for each fold of ``rows``. The tables hold the same edits."""
    data = tables[0].data
    parts = np.full((len(data.target), len(tables)), np.nan)
    result = Nested(np.full(len(data.target), np.nan), parts, [{} for _ in tables], [[] for _ in tables])
    for train, test in folds(data.sources, rows):
        tasks = [data.tasks[row] for row in test.tolist()]
        fitted = [table.fit(train, singles=True) for table in tables]
        own = [
            part.predict(table.answers.values[test], tasks) for table, (part, _, _) in zip(tables, fitted, strict=True)
        ]
        scores, variances = (np.column_stack([pair[number] for pair in own]) for number in range(2))
        held = np.column_stack([held_out for _, held_out, _ in fitted])
        names = [data.sources[row] for row in train.tolist()]
        ensemble = fit_ensemble(held, [part.verdict == "ok" for part, _, _ in fitted], data.target[train], names)
        parts[test], result.scores[test] = scores, ensemble.predict(scores, variances)[0]
        for number, (table, (_, _, selected)) in enumerate(zip(tables, fitted, strict=True)):
            result.chosen[number].append(selected.base.name)
            for name, base in selected.singles.items():
                column = result.singles[number].setdefault(name, np.full(len(data.target), np.nan))
                column[test] = base.predict(table.data.answers[test], tasks)[0]
    return result
