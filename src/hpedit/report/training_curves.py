"""The charts of a training run's metrics (reward, importance ratio, KL, gradient norm ...) over its iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hpedit.report.charts import Series, line_chart
from hpedit.report.svg import Point
from hpedit.stats.intervals import finite_number

View = dict[str, Any]
Metrics = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class MetricChart:
    """A chart: what it shows, and metric -> (legend, style) of its lines."""

    title: str
    note: str
    lines: Mapping[str, tuple[str, str]]
    from_zero: bool = True
    """Whether 0 must stay in view."""


METRIC_CHARTS = (
    MetricChart("Score", "of the edits drawn in training, 0 to 5", {"score_mean": ("mean", "post")}, False),
    MetricChart(
        "Reward", "of the iteration's edits, in 0 to 1",
        {"reward_mean": ("mean", "post"), "reward_std": ("standard deviation", "base")}, False,
    ),
    MetricChart(
        "Held-out", "cases that training never sees, 0 to 5",
        {"held_out_scorer": ("HP-Scorer", "post"), "held_out_second": ("second judge", "third"),
         "held_out_oracle": ("oracle", "control")}, False,
    ),
    MetricChart("KL to the base", "how far the policy has moved", {"kl": ("KL", "post")}),
    MetricChart(
        "Importance ratio", "distance from 1; before an iteration's first update it is rounding alone",
        {"ratio_deviation": ("largest, before", "base"), "ratio_mean": ("mean", "post")},
    ),
    MetricChart("Clipped share", "steps whose ratio left the clip range", {"clip_fraction": ("clipped", "post")}),
    MetricChart("Loss", "mean over the terms", {"loss": ("loss", "post")}),
    MetricChart("Gradient norm", "before clipping", {"grad_norm": ("norm", "post")}),
    MetricChart(
        "Zero-variance groups", "share of groups with equal rewards: they teach nothing",
        {"frac_zero_std": ("share", "post")},
    ),
    MetricChart("Unscorable", "edits without a score: left out, never 0", {"unscorable": ("edits", "bad")}),
    MetricChart(
        "Seconds by phase", "of each iteration; judging overlaps the rollout",
        {"seconds_rollout": ("rollout", "post"), "seconds_train": ("train", "control"),
         "seconds_score": ("score", "third"), "seconds_evaluate": ("evaluate", "fourth")},
    ),
)  # fmt: skip
ORIGINS = {"ratio_mean": 1.0}
"""Subtracted before drawing: a mean ratio of 1.00002 is seen only by its distance from 1."""


def metric_charts(metrics: Metrics, skip: Sequence[str] = ()) -> tuple[list[View], list[str]]:
    """The charts of the recorded metrics, without the titles in `skip`; and titles of those that are 0 throughout."""
    views, zero = [], []
    for chart in METRIC_CHARTS:
        lines = [Series(name, _points(metrics, key), style) for key, (name, style) in chart.lines.items()]
        drawn = [line for line in lines if line.points]
        if chart.title in skip or not drawn:
            continue
        if not any(value for line in drawn for _, value in line.points):
            zero.append(chart.title[0].lower() + chart.title[1:])
        elif svg := line_chart(drawn, title=chart.title, include=(0.0,) if chart.from_zero else ()):
            views.append({"title": chart.title, "note": chart.note, "svg": Markup(svg)})
    return views, zero


def _points(metrics: Metrics, key: str) -> list[Point]:
    """The (step, value) pairs of one metric; a record without it, or with null, has none."""
    points = []
    for position, record in enumerate(metrics):
        value, at = finite_number(record.get(key)), finite_number(record.get("step", position))
        if value is not None and at is not None:
            points.append((at, value - ORIGINS.get(key, 0.0)))
    return points
