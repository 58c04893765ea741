"""Plain words for the figures: what the intervals allow to be said, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpedit.report.charts import Interval, interval_text

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence with its tone: "good", "bad", "warn" or "plain"."""

    text: str
    tone: str = "plain"


def estimate(block: Mapping[str, Any] | None, *keys: str) -> Interval | None:
    """The estimate at `keys` of a block, whether its value is called "mean" or "value"; None if absent or NaN."""
    node: Any = block
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return None
    value = number(node.get("mean", node.get("value")))
    if value is None:
        return None
    low, high = node.get("ci95") or (None, None)
    return Interval(value, number(low), number(high))


def number(value: Any) -> float | None:
    """`value` as a finite float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def gain_sentence(gain: Interval | None) -> Verdict:
    """What one gain with its interval says."""
    if gain is None:
        return Verdict(NOT_MEASURED)
    if gain.low is None:
        return Verdict("too few photos for an interval: this figure alone shows nothing")
    if gain.sign > 0:
        return Verdict("better: the whole interval lies above 0", "good")
    if gain.sign < 0:
        return Verdict("worse: the whole interval lies below 0", "bad")
    return Verdict("no clear change: the interval includes 0", "warn")


def headline(summary: Mapping[str, Any] | None) -> Verdict:
    """The one sentence at the top: do edits get better, by the scorer and by the judge outside training."""
    oracle, scorer = (estimate(summary, name, "gain") for name in ("oracle", "scorer"))
    if oracle is None and scorer is None:
        return Verdict("The benchmark was not measured, so nothing can be said about the gain.", "warn")
    if oracle is None:
        return _by_scorer_alone(scorer)
    if oracle.sign > 0:
        tail = ", and HP-Scorer agrees" if scorer and scorer.sign > 0 else ", though HP-Scorer does not see it clearly"
        return Verdict(
            f"Post-training made the edits better: the oracle, which took no part in training, sees it{tail}.", "good"
        )
    if scorer and scorer.sign > 0:
        return Verdict(
            "HP-Scorer rose but the oracle did not follow: the editor has learnt to please the scorer.", "bad"
        )
    if oracle.sign < 0:
        return Verdict("Post-training made the edits worse by the oracle.", "bad")
    return Verdict("No clear change: the oracle's interval includes 0.", "warn")


def _by_scorer_alone(scorer: Interval | None) -> Verdict:
    words = {1: "scores the edits higher", 0: "sees no clear change", -1: "scores the edits lower"}
    sign = scorer.sign if scorer else 0
    tone = {1: "warn", 0: "warn", -1: "bad"}[sign]
    return Verdict(f"HP-Scorer {words[sign]}; no judge independent of training was measured.", tone)


def control_sentence(block: Mapping[str, Any] | None) -> Verdict:
    """Whether post-training beats as many more supervised steps, by one instrument's summary block."""
    gain, ahead = estimate(block, "control", "gain"), estimate(block, "control", "post_minus_control")
    if gain is None or ahead is None:
        return Verdict(NOT_MEASURED)
    text = interval_text(ahead)
    if ahead.sign > 0:
        return Verdict(f"post-training is {text} ahead of it: the gain is more than unfinished training", "good")
    if ahead.sign < 0:
        return Verdict(f"post-training is {text} behind it: more supervision would have done better", "bad")
    return Verdict(f"post-training against it: {text}, no clear difference", "warn")
