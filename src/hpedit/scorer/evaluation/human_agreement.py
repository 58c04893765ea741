"""Agreement of a scorer with people, beside the uncalibrated judge's and the human ceiling.

All are compared on the same edits: rated by people, and scored by both scorer and uncalibrated judge. The others are
counted. Each measure has a 95 % interval over resampled photos:

- pearson, spearman, kendall (tau-b): correlation with the mean rating.
- pairwise_accuracy: share of the pairs of one photo's edits that people tell apart (mean ratings differ) which the
  scorer orders the same way; a tie of the scorer counts half. It is what a reward needs most.
  pairwise_untied leaves those ties out, pairwise_ties_wrong counts them wrong; "pairs" has the counts.
- mae: mean absolute difference from the mean rating, in points of the 0-5 scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.calibration.calibration import SignalVerdict
from hpedit.scorer.calibration.judge_table import MIN_SIGNAL
from hpedit.scorer.evaluation.reliability import reliability_report, stated_deviation
from hpedit.stats.bootstrap import Estimate, FloatArray
from hpedit.stats.correlation import MEASURES, PAIRS, RESAMPLES, Measured, Resamples, count_pairs
from hpedit.stats.rater_agreement import human_ceiling, krippendorff_alpha, mean_rating

__all__ = ["MEASURES", "agreement_report", "score_agreement"]


@dataclass(frozen=True, slots=True)
class _Block:
    """The compared edits; NaN only in ``ratings`` and ``deviation``."""

    score: FloatArray
    deviation: FloatArray
    raw: FloatArray
    ratings: FloatArray
    sources: list[str]
    seed: int

    def rows(self, chosen: Sequence[int]) -> _Block:
        parts = (self.score[chosen], self.deviation[chosen], self.raw[chosen], self.ratings[chosen])
        return _Block(*parts, [self.sources[row] for row in chosen], self.seed)


def agreement_report(
    prediction: FloatArray,
    raw: FloatArray,
    ratings: FloatArray,
    sources: Sequence[str],
    tasks: Sequence[str],
    *,
    deviation: FloatArray | None = None,
    verdict: SignalVerdict = "ok",
    reason: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a scorer's scores with people's ratings.

    Args:
        prediction: (n,) calibrated scores, 0 to 5, NaN = unscorable.
        raw: (n,) the judge's own overall score, NaN = unscorable; its unit matters for "mae" alone, which is None if it
            is off the scale of 0 to 5.
        ratings: (n, r), a column a rater, NaN = did not rate.
        sources: (n,) photo ids.
        tasks: (n,) task ids.
        deviation: (n,) the scorer's stated standard deviations, NaN = none.
        verdict: the calibration's; "ok" is withdrawn if these edits contradict it.
        reason: the calibration's.
        seed: of the bootstrap.

    Returns:
        JSON values. Each measure is ``{"value", "ci95": [low, high]}`` with None for what is undefined: at the top for
        the scorer, under "raw" for the judge, under "human" for one rater against the others' mean, under "gain" for
        the scorer minus the judge, under "tasks" all of it by task (if there is more than one). "pairs" counts the
        pairs of one photo's edits, "reliability" and "deviation" are those of `reliability`. "n" edits of "sources"
        photos were compared; "unscorable" (rated, but without a score) and "unrated" were left out.

    Raises:
        HPEditError: the lengths differ.
    """
    deviation = np.full(len(prediction), np.nan) if deviation is None else deviation
    columns = {"scores": prediction, "raw scores": raw, "rows of ratings": ratings}
    _check_lengths(ratings, {**columns, "source ids": sources, "tasks": tasks, "deviations": deviation})
    rated, scored = ~np.isnan(mean_rating(ratings)), ~np.isnan(prediction) & ~np.isnan(raw)
    rows = np.flatnonzero(rated & scored).tolist()
    block = _Block(prediction, deviation, raw, ratings, list(sources), seed).rows(rows)
    report = _measures(block)
    report |= {"unscorable": int((rated & ~scored).sum()), "unrated": int((~rated).sum())}
    report["unscorable_scorer"] = int((rated & np.isnan(prediction)).sum())
    report["unscorable_raw"] = int((rated & np.isnan(raw)).sum())
    report["tasks"] = _by_task(block, [tasks[row] for row in rows])
    report["verdict"], report["reason"] = _verdict(report, verdict, reason)
    return report


def score_agreement(
    score: FloatArray, target: FloatArray, sources: Sequence[str], seed: int = 0, n: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure one score (n,) against the target (n,), both without NaN; see `Resamples.measure`."""
    draws = Resamples.of(sources, seed, n)
    return {name: draws.estimate(values) for name, values in draws.measure(score, target).items()}


def _measures(block: _Block) -> dict[str, Any]:
    target = mean_rating(block.ratings)
    draws = Resamples.of(block.sources, block.seed)
    scorer, judge = draws.measure(block.score, target), draws.measure(block.raw, target)
    if ((block.raw < MIN_SCORE) | (block.raw > MAX_SCORE)).any():
        judge["mae"] = np.full_like(judge["mae"], np.nan)
    gain: Measured = {name: scorer[name] - judge[name] for name in scorer}
    error = block.score - target
    report: dict[str, Any] = {"n": len(target), "sources": len(draws.names), "resamples": draws.resamples}
    report |= draws.as_json(scorer) | {"pairs": _pairs(block.score, target, draws)}
    report["rmse"] = float(np.sqrt(np.mean(error**2))) if len(error) else None
    report["raw"] = draws.as_json(judge) | {"pairs": _pairs(block.raw, target, draws)}
    report["gain"] = draws.as_json(gain)
    alpha = krippendorff_alpha(block.ratings)
    ceiling = human_ceiling(block.ratings, block.sources, block.seed, RESAMPLES)
    report["human"] = {
        **{name: estimate.as_dict() for name, estimate in ceiling.items()},
        "raters": int((~np.isnan(block.ratings)).any(axis=0).sum()),
        "krippendorff_alpha": None if math.isnan(alpha) else alpha,
    }
    report["reliability"] = reliability_report(block.score, target, draws)
    report["deviation"] = stated_deviation(block.score, block.deviation, target, draws)
    return report


def _pairs(score: FloatArray, target: FloatArray, draws: Resamples) -> dict[str, int]:
    counts = count_pairs(score, target, draws.index).sum(axis=0)
    return {"pairs": int(counts.sum())} | {name: int(count) for name, count in zip(PAIRS, counts, strict=True)}


def _by_task(block: _Block, tasks: Sequence[str]) -> dict[str, Any]:
    names = sorted(set(tasks))
    if len(names) < 2:
        return {}
    members = {name: [row for row, task in enumerate(tasks) if task == name] for name in names}
    return {name: _measures(block.rows(rows)) for name, rows in members.items()}


def _verdict(report: dict[str, Any], verdict: SignalVerdict, reason: str) -> tuple[SignalVerdict, str]:
    """The calibration's verdict, unless it is ok and these edits clearly contradict it."""
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


def _check_lengths(ratings: FloatArray, columns: Mapping[str, Sequence[Any] | FloatArray]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or ratings.ndim != 2:
        raise HPEditError("lengths differ: " + ", ".join(f"{count} {name}" for name, count in lengths.items()))
