"""Gains in words: what their intervals support, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpedit.bench.figure_text import sentence
from hpedit.bench.model_verdict import Verdict
from hpedit.stats.intervals import FEWEST_PHOTOS, PAGE_GAIN, Interval, number_text

NOT_MEASURED = "not measured"


def gain_bounds(gain: Interval, digits: int = 2) -> str:
    """The interval of a gain, `+0.31 to +0.53`, or words if there is none."""
    return gain.bounds(PAGE_GAIN, digits, " to ") or "no interval"


def gain_view(gain: Interval | None) -> dict[str, Any]:
    """A gain for a template: signed figure, interval, and sign (0 if unclear); empty texts if there is none."""
    if gain is None:
        return {"gain": "", "bounds": "", "sign": 0}
    return {"gain": number_text(gain.value, PAGE_GAIN), "bounds": gain_bounds(gain), "sign": gain.sign}


def gain_sentence(gain: Interval | None) -> Verdict:
    """What one gain with its interval says."""
    if gain is None:
        return Verdict(NOT_MEASURED)
    if gain.too_few:
        return Verdict(f"{not_enough(gain)}: this figure alone shows nothing")
    if gain.sign > 0:
        return Verdict("better: the whole interval lies above 0", "good")
    if gain.sign < 0:
        return Verdict("worse: the whole interval lies below 0", "bad")
    if gain.clear is False and gain.excludes_zero:
        return Verdict("no clear change: chance among so many figures is not excluded", "warn")
    return Verdict("no clear change: the interval includes 0", "warn")


def not_enough(gain: Interval) -> str:
    """That a gain is of too few photos for a verdict."""
    count = "" if gain.photos is None else f"{gain.photos}; "
    return f"not enough photos ({count}a verdict needs {FEWEST_PHOTOS})"


def headline(summary: Mapping[str, Any] | None) -> Verdict:
    """The headline: whether edits get better, by the scorer and by the oracle, which took no part in training."""
    oracle, scorer = (Interval.read(summary, name, "gain") for name in ("oracle", "scorer"))
    if oracle is None and scorer is None:
        return Verdict("The benchmark was not measured, so nothing can be said about the gain.", "warn")
    if oracle is None:
        return _by_scorer_alone(scorer)
    if oracle.too_few:
        return Verdict(f"{sentence(not_enough(oracle))}, so nothing can be said about the gain.", "warn")
    if oracle.sign > 0:
        tail = ", and HP-Scorer agrees" if scorer and scorer.sign > 0 else ", though HP-Scorer does not see it clearly"
        return Verdict(
            f"Post-training made the edits better: the oracle, which took no part in training, sees it{tail}.", "good"
        )
    if scorer and scorer.sign > 0:
        return Verdict(
            "HP-Scorer rose but the oracle did not follow: the editor has learned to please the scorer.", "bad"
        )
    if oracle.sign < 0:
        return Verdict("Post-training made the edits worse by the oracle.", "bad")
    return Verdict("No clear change by the oracle.", "warn")


def _by_scorer_alone(scorer: Interval | None) -> Verdict:
    """The headline where only the scorer measured."""
    if scorer and scorer.too_few:
        return Verdict(f"{sentence(not_enough(scorer))}, so nothing can be said about the gain.", "warn")
    words = {1: "scores the edits higher", 0: "sees no clear change", -1: "scores the edits lower"}
    sign = scorer.sign if scorer else 0
    tone = {1: "warn", 0: "warn", -1: "bad"}[sign]
    return Verdict(f"HP-Scorer {words[sign]}; no judge independent of training was measured.", tone)


def control_sentence(block: Mapping[str, Any] | None) -> Verdict:
    """Whether post-training beats as many more supervised steps, by one instrument's summary block."""
    gain, ahead = Interval.read(block, "control", "gain"), Interval.read(block, "control", "post_minus_control")
    if gain is None or ahead is None:
        return Verdict(NOT_MEASURED)
    text = ahead.text(PAGE_GAIN)
    if ahead.too_few:
        return Verdict(f"post-training against it: {text}, {not_enough(ahead)}", "warn")
    if ahead.sign > 0:
        return Verdict(f"post-training is {text} ahead of it: the gain is more than unfinished training", "good")
    if ahead.sign < 0:
        return Verdict(f"post-training is {text} behind it: more supervision would have done better", "bad")
    return Verdict(f"post-training against it: {text}, no clear difference", "warn")
