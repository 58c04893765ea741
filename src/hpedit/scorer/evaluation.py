"""What a scorer is worth: its agreement with people, beside the uncalibrated judge's and people's own.

Everything is compared on the same edits: those that people rated and that both the scorer and the uncalibrated judge
could score. What is left out is counted. Three measures, each with a 95 % interval over resampled photos:

- pearson, spearman: correlation with the mean rating.
- pairwise_accuracy: share of the pairs of one photo's edits that people tell apart (mean ratings differ) which the
  scorer puts in the same order; a scorer that does not tell them apart gets half. It is what a reward needs most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.agreement import human_ceiling, krippendorff_alpha, mean_rating
from hpedit.scorer.calibration import MIN_SIGNAL, Verdict
from hpedit.scorer.statistics import (
    Estimate,
    FloatArray,
    Statistic,
    bootstrap_by_source,
    pair_counts,
    ratio_of_sums,
    weighted_pearson,
    weighted_spearman,
)

RESAMPLES = 1000
MEASURES = ("pearson", "spearman", "pairwise_accuracy")


def agreement_report(
    prediction: FloatArray,
    raw: FloatArray,
    ratings: FloatArray,
    sources: Sequence[str],
    tasks: Sequence[str],
    *,
    verdict: Verdict = "ok",
    reason: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Compare scores with ratings.

    Args:
        prediction: (n,) calibrated scores, 0 to 5, NaN = unscorable.
        raw: (n,) the judge's own overall score, NaN = unscorable; its unit does not matter.
        ratings: (n, r), a column a rater, NaN = did not rate.
        sources: (n,) photo ids.
        tasks: (n,) task ids.
        verdict: the calibration's; "ok" is taken back if these edits speak against it.
        reason: the calibration's.
        seed: of the bootstrap.

    Returns:
        JSON values. Each measure is ``{"value", "ci95": [low, high]}`` with None for what is undefined: at the top for
        the scorer, under "raw" for the judge, under "human" for one rater against the others' mean, under "gain" for
        the scorer minus the judge, under "tasks" all of it by task (if there is more than one). "n" edits of "sources"
        photos were compared; "unscorable" (rated, but without a score) and "unrated" were left out.

    Raises:
        HPEditError: the lengths differ.
    """
    _check_lengths(prediction, raw, ratings, sources, tasks)
    target = mean_rating(ratings)
    rated, scored = ~np.isnan(target), ~np.isnan(prediction) & ~np.isnan(raw)
    rows = np.flatnonzero(rated & scored).tolist()
    names = [sources[row] for row in rows]
    report = _measures(prediction[rows], raw[rows], ratings[rows], names, seed)
    report |= {"unscorable": int((rated & ~scored).sum()), "unrated": int((~rated).sum())}
    report["unscorable_scorer"] = int((rated & np.isnan(prediction)).sum())
    report["unscorable_raw"] = int((rated & np.isnan(raw)).sum())
    error = prediction[rows] - target[rows]
    report["rmse"] = float(np.sqrt(np.mean(error**2))) if len(rows) else None
    report["tasks"] = _by_task(prediction[rows], raw[rows], ratings[rows], names, [tasks[row] for row in rows], seed)
    report["verdict"], report["reason"] = _verdict(report, verdict, reason)
    return report


def score_agreement(
    score: FloatArray, target: FloatArray, sources: Sequence[str], seed: int = 0, n: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure one score (n,) against the target (n,), both without NaN, in the three measures."""
    counts, names = pair_counts(score, target, sources)
    table = np.column_stack([score, target])
    return {
        "pearson": bootstrap_by_source(table, sources, weighted_pearson, seed, n),
        "spearman": bootstrap_by_source(table, sources, weighted_spearman, seed, n),
        "pairwise_accuracy": bootstrap_by_source(counts, names, ratio_of_sums, seed, n),
    }


def _measures(
    prediction: FloatArray, raw: FloatArray, ratings: FloatArray, sources: Sequence[str], seed: int
) -> dict[str, Any]:
    target = mean_rating(ratings)
    report: dict[str, Any] = {"n": len(target), "sources": len(set(sources))}
    report |= _as_json(score_agreement(prediction, target, sources, seed))
    report["raw"] = _as_json(score_agreement(raw, target, sources, seed))
    report["gain"] = _as_json(_gain(prediction, raw, target, sources, seed))
    alpha = krippendorff_alpha(ratings)
    report["human"] = {
        **_as_json(human_ceiling(ratings, sources, seed, RESAMPLES)),
        "raters": int((~np.isnan(ratings)).any(axis=0).sum()),
        "krippendorff_alpha": None if math.isnan(alpha) else alpha,
    }
    return report


def _gain(
    prediction: FloatArray, raw: FloatArray, target: FloatArray, sources: Sequence[str], seed: int
) -> dict[str, Estimate]:
    """Scorer minus judge, resampled together: far narrower than the two intervals suggest."""
    table = np.column_stack([prediction, target, raw])
    own, names = pair_counts(prediction, target, sources)
    judge, _ = pair_counts(raw, target, sources)
    counts = np.column_stack([own, judge[:, 0]])
    return {
        "pearson": bootstrap_by_source(table, sources, _difference(weighted_pearson), seed, RESAMPLES),
        "spearman": bootstrap_by_source(table, sources, _difference(weighted_spearman), seed, RESAMPLES),
        "pairwise_accuracy": bootstrap_by_source(counts, names, _difference(ratio_of_sums), seed, RESAMPLES),
    }


def _difference(statistic: Statistic) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Statistic of columns (0, 1) minus that of columns (2, 1)."""

    def difference(values: FloatArray, weights: FloatArray) -> FloatArray:
        return statistic(values[:, [0, 1]], weights) - statistic(values[:, [2, 1]], weights)

    return difference


def _by_task(
    prediction: FloatArray,
    raw: FloatArray,
    ratings: FloatArray,
    sources: Sequence[str],
    tasks: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    names = sorted(set(tasks))
    if len(names) < 2:
        return {}
    members = {name: [row for row, task in enumerate(tasks) if task == name] for name in names}
    return {
        name: _measures(prediction[rows], raw[rows], ratings[rows], [sources[row] for row in rows], seed)
        for name, rows in members.items()
    }


def _verdict(report: dict[str, Any], verdict: Verdict, reason: str) -> tuple[Verdict, str]:
    """Keep the calibration's verdict unless it says ok and these edits clearly say otherwise."""
    value, (_, high) = report["pearson"]["value"], report["pearson"]["ci95"]
    if verdict != "ok":
        return verdict, reason
    if report["n"] == 0:
        return "no signal", "no edit has both a rating and a score"
    if value is None:
        return "no signal", "scores or ratings of these edits do not differ"
    if high is not None and high < MIN_SIGNAL:
        return "no signal", f"correlation with people on these edits is {value:.2f}, at most {high:.2f}"
    return "ok", reason


def _as_json(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in estimates.items()}


def _check_lengths(
    prediction: FloatArray, raw: FloatArray, ratings: FloatArray, sources: Sequence[str], tasks: Sequence[str]
) -> None:
    lengths = {
        "scores": len(prediction),
        "raw scores": len(raw),
        "rows of ratings": len(ratings),
        "source ids": len(sources),
        "tasks": len(tasks),
    }
    if len(set(lengths.values())) > 1 or ratings.ndim != 2:
        raise HPEditError("lengths differ: " + ", ".join(f"{count} {name}" for name, count in lengths.items()))
