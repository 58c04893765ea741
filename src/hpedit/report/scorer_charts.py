"""Charts of a scorer's calibration: reliability diagram, stated deviation, agreement by task, learning curve.

Pure functions from numbers to inline SVG, "" if there is nothing to draw; see `charts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpedit.report import svg
from hpedit.report.charts import padded
from hpedit.report.svg import Point, Scale, linear, nice_ticks
from hpedit.stats.intervals import Interval

Cells = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """A horizontal reference level, drawn as a dashed line."""

    name: str
    interval: Interval
    style: str


def reliability_plot(reliability: Cells, *, title: str, small: bool = False) -> str:
    """Reliability diagram: mean rating over mean score by bin, with intervals, and histograms of both below.

    Args:
        reliability: as `hpedit.scorer.evaluation.reliability.reliability_report` returns it.
        title: for screen readers.
        small: for a row of many: without names of the axes.
    """
    bins = reliability["bins"]
    if not bins:
        return ""
    width, left, top = (240.0, 24.0, 6.0) if small else (400.0, 42.0, 8.0)
    plot = width - left - 8
    base, strip = top + plot, 30.0 if small else 56.0
    x, y = linear((0, 5), (left, width - 8)), linear((0, 5), (base, top))
    body = [_grid(tick, x, y, (left, width - 8, top, base)) for tick in range(6)]
    body.append(svg.line(x(0), y(0), x(5), y(5), "diagonal"))
    body.append(svg.path([(part["score"], part["rating"]["value"]) for part in bins], x, y, "curve faint c-post"))
    for part in bins:
        rating = part["rating"]
        title_of_bin = f"{part['n']} edits: score {part['score']:.2f}, rating {rating['value']:.2f}"
        body += _upright(
            x(part["score"]), Interval(rating["value"], *rating["ci95"]), y, "post", 2.5 if small else 4, title_of_bin
        )
    body += _strip(reliability["histogram"], x, (base + 20, base + 20 + strip))
    height = base + 26 + strip
    if not small:
        body += [svg.text((left + width) / 2, height + 10, "score", "tick", "middle")]
        body += [svg.upright_text(12, top + plot / 2, "mean rating")]
        height += 14
    return svg.picture(width, height, title, body)


def deviation_plot(deviation: Cells, *, title: str) -> str:
    """Actual over stated standard deviation by bin of edits, with intervals, and the identity."""
    points = [
        (part["stated"], Interval(part["actual"]["value"], *part["actual"]["ci95"])) for part in deviation["bins"]
    ]
    if not points:
        return ""
    width, left, top = 400.0, 42.0, 8.0
    base = top + width - left - 8
    bounds = [stated for stated, _ in points] + [interval.high or interval.value for _, interval in points]
    most = max(max(bounds) * 1.06, 0.5)
    x, y = linear((0, most), (left, width - 8)), linear((0, most), (base, top))
    body = [_grid(tick, x, y, (left, width - 8, top, base)) for tick in nice_ticks(0, most, 5)]
    body.append(svg.line(x(0), y(0), x(most), y(most), "diagonal"))
    for (stated, interval), part in zip(points, deviation["bins"], strict=True):
        said = f"{part['n']} edits: stated {stated:.2f}, actual {interval.value:.2f}"
        body += _upright(x(stated), interval, y, "post", 4, said)
    body += [svg.text((left + width) / 2, base + 32, "stated deviation", "tick", "middle")]
    body += [svg.upright_text(12, (top + base) / 2, "root mean square error")]
    return svg.picture(width, base + 38, title, body)


def task_plot(rows: Sequence[tuple[str, Sequence[tuple[str, Interval | None]]]], *, title: str) -> str:
    """Dot plot of tasks: each row has a name and (style, interval) marks; only the first mark shows its interval."""
    known = [mark for _, marks in rows for _, mark in marks if mark]
    if not known:
        return ""
    width, left, step, top = 440.0, 158.0, 26.0, 6.0
    bounds = [bound for mark in known for bound in (mark.low, mark.high, mark.value) if bound is not None]
    domain = padded(bounds, include=(1.0,) if max(bounds) > 0.9 else (), share=0.05)
    domain = (domain[0], min(domain[1], 1.0)) if max(bounds) <= 1 else domain
    x, base = linear(domain, (left, width - 10)), top + step * len(rows)
    body = []
    for tick in nice_ticks(*domain, count=5):
        body += [svg.line(x(tick), top, x(tick), base, "grid")]
        body += [svg.text(x(tick), base + 14, svg.tick_text(tick), "tick", "middle")]
    for number, (name, marks) in enumerate(rows):
        y = top + step * (number + 0.5)
        body.append(svg.text(0, y + 4, _cut(name, 22), "row-label"))
        for place, (style, mark) in reversed(list(enumerate(marks))):
            if mark:
                body += _sideways(mark, x, y, style, whisker=place == 0)
    return svg.picture(width, base + 20, title, body)


def growth_plot(points: Sequence[tuple[int, Cells | None]], references: Sequence[Reference], *, title: str) -> str:
    """Learning curve of a measure over the (logarithmic) number of rated edits: mean and range of draws, references."""
    drawn = [(number, found) for number, found in points if found]
    levels = [item.interval.value for item in references]
    if not drawn:
        return ""
    width, height, left, right, top, bottom = 400.0, 250.0, 44.0, 84.0, 12.0, 38.0
    values = [found[key] for _, found in drawn for key in ("low", "high")] + levels
    domain, numbers = padded(values, share=0.1), [number for number, _ in points]
    span = (math.log(min(numbers)), math.log(max(numbers)))
    place = linear(span if span[1] > span[0] else (span[0] - 1, span[0] + 1), (left + 12, width - right - 12))
    y = linear(domain, (height - bottom, top))
    body = []
    for tick in nice_ticks(*domain):
        body += [svg.line(left, y(tick), width - right, y(tick), "grid")]
        body += [svg.text(left - 6, y(tick) + 3.5, svg.tick_text(tick), "tick", "end")]
    body += [svg.text(place(math.log(n)), height - bottom + 15, str(n), "tick", "middle") for n in numbers]
    body += [
        svg.text(place(math.log(n)), height - bottom - 6, "n/a", "tick", "middle") for n, found in points if not found
    ]
    body += _references(references, y, (left, width - right))
    x: Scale = lambda number: place(math.log(number))  # noqa: E731
    body += _range_of_draws(drawn, x, y)
    body.append(svg.text((left + width - right) / 2, height - 5, "rated edits a task", "tick", "middle"))
    return svg.picture(width, height, title, body)


def _range_of_draws(drawn: Sequence[tuple[int, Cells]], x: Scale, y: Scale) -> list[str]:
    """The area between the smallest and largest draw, with the mean."""
    upper: list[Point] = [(number, found["high"]) for number, found in drawn]
    lower: list[Point] = [(number, found["low"]) for number, found in reversed(drawn)]
    area = len(drawn) > 1
    body = [svg.path([*upper, *lower], x, y, "band")] if area else []
    body.append(svg.path([(number, found["mean"]) for number, found in drawn], x, y, "curve c-post"))
    for number, found in drawn:
        said = f"{number}: {found['mean']:.3f}, {found['low']:.3f} to {found['high']:.3f} over {found['fits']} draws"
        interval = Interval(found["mean"]) if area else Interval(found["mean"], found["low"], found["high"])
        body += _upright(x(number), interval, y, "post", 3.5, said)
    return body


def _references(references: Sequence[Reference], y: Scale, edges: tuple[float, float]) -> list[str]:
    """Dashed lines, labelled at the right; overlapping labels are moved apart."""
    body, last = [], -math.inf
    for item in sorted(references, key=lambda item: -item.interval.value):
        level = y(item.interval.value)
        body.append(svg.line(edges[0], level, edges[1], level, f"reference c-{item.style}"))
        last = max(level, last + 13)
        body.append(svg.text(edges[1] + 5, last + 3.5, item.name, "legend"))
    return body


def _grid(tick: float, x: Scale, y: Scale, frame: tuple[float, float, float, float]) -> str:
    left, right, top, base = frame
    lines = svg.line(left, y(tick), right, y(tick), "grid") + svg.line(x(tick), top, x(tick), base, "grid")
    label = svg.text(left - 6, y(tick) + 3.5, svg.tick_text(tick), "tick", "end")
    return lines + label + svg.text(x(tick), base + 14, svg.tick_text(tick), "tick", "middle")


def _strip(histogram: Cells, x: Scale, rows: tuple[float, float]) -> list[str]:
    """Histograms: scores as bars, ratings as steps."""
    top, base = rows
    scores, ratings, band = histogram["scores"], histogram["ratings"], histogram["width"]
    peak = max([*scores, *ratings, 0.01])
    y = linear((0, peak), (base, top))
    body = [svg.line(x(0), base, x(5), base, "grid")]
    for number, share in enumerate(scores):
        start, end = number * band, (number + 1) * band
        title = f"{start:g} to {end:g}: {share:.1%} of scores, {ratings[number]:.1%} of ratings"
        body.append(svg.rect((x(start) + 1, y(share)), (x(end) - x(start) - 2, base - y(share)), "f-post soft", title))
    steps = [point for n, share in enumerate(ratings) for point in ((n * band, share), ((n + 1) * band, share))]
    return [*body, svg.path(steps, x, y, "curve thin c-control")]


def _upright(x: float, interval: Interval, y: Scale, style: str, cap: float, title: str) -> list[str]:
    parts = []
    if interval.low is not None and interval.high is not None:
        parts = [svg.line(x, y(interval.low), x, y(interval.high), f"whisker c-{style}")]
    return [*parts, svg.dot(x, y(interval.value), cap + 0.5, f"dot f-{style}", title)]


def _sideways(mark: Interval, x: Scale, y: float, style: str, *, whisker: bool) -> list[str]:
    parts = []
    if whisker and mark.low is not None and mark.high is not None:
        parts = [svg.line(x(mark.low), y, x(mark.high), y, f"whisker c-{style}")]
    return [*parts, svg.dot(x(mark.value), y, 4.5 if whisker else 4, f"dot f-{style}", f"{mark.value:.2f}")]


def _cut(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
