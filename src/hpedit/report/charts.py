"""Charts (forest plot, line chart, scatter plot, histogram) as pure functions from numbers to inline SVG.

Colours and line styles are CSS classes (`c-base`, `c-post`, `c-control`, ...) that the page's style sheet defines for
light, dark and print. Every text is escaped; values that are not finite are left out, never drawn at 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpedit.report import svg
from hpedit.report.svg import Point, Scale, linear, nice_ticks
from hpedit.stats.intervals import PAGE_GAIN, Interval, number_text

MAX_POINTS = 240
"""Maximum number of points per series; longer series are averaged in bins to keep pages small."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart. `style` is the suffix of its CSS class."""

    name: str
    points: Sequence[Point]
    style: str = "post"


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of a forest plot."""

    label: str
    interval: Interval
    style: str = "post"
    group: str = ""
    """Heading drawn above the first row of a group."""


def padded(values: Sequence[float], *, include: Sequence[float] = (), share: float = 0.06) -> tuple[float, float]:
    """A domain around the finite `values` with a margin of `share`; (0, 1) if there are none."""
    finite = [value for value in (*values, *include) if math.isfinite(value)]
    if not finite:
        return (0.0, 1.0)
    low, high = min(finite), max(finite)
    if low == high == 0:
        return (-share, 1.0)
    margin = (high - low) * share or abs(high) * share
    return (low - margin, high + margin)


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Downsample a curve: drop what is not finite, then average neighbours to at most `limit` points."""
    clean = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(clean) <= limit:
        return clean
    edges = [round(index * len(clean) / limit) for index in range(limit + 1)]
    bins = [clean[start:end] for start, end in itertools.pairwise(edges) if end > start]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Centred moving average of a curve over `window` points, fewer at both ends."""
    half = window // 2
    result = []
    for index, (x, _) in enumerate(points):
        part = points[max(0, index - half) : index + half + 1]
        result.append((x, sum(y for _, y in part) / len(part)))
    return result


def _whisker(interval: Interval, x: Scale, y: float, style: str, cap: float) -> list[str]:
    parts = []
    if interval.low is not None and interval.high is not None:
        low, high = x(interval.low), x(interval.high)
        parts = [svg.line(low, y, high, y, f"whisker c-{style}")]
        parts += [svg.line(end, y - cap, end, y + cap, f"whisker c-{style}") for end in (low, high)]
    return [*parts, svg.dot(x(interval.value), y, cap + 0.5, f"dot f-{style}")]


def interval_domain(intervals: Sequence[Interval]) -> tuple[float, float]:
    """A common axis for gains: holds every interval and 0."""
    bounds = [bound for item in intervals for bound in (item.low, item.high, item.value) if bound is not None]
    return padded(bounds, include=(0.0,), share=0.08)


def interval_bar(interval: Interval, domain: tuple[float, float], *, width: int = 168, height: int = 18) -> str:
    """Bar of a gain and its interval with a line at 0, for a table cell."""
    x = linear(domain, (6, width - 6))
    style = {1: "good", 0: "base", -1: "bad"}[interval.sign]
    body = [svg.line(x(0), 0, x(0), height, "zero"), *_whisker(interval, x, height / 2, style, 3)]
    return svg.picture(width, height, f"gain {number_text(interval.value, PAGE_GAIN)}", body, "chart cell-chart")


def forest_plot(rows: Sequence[ForestRow], *, label: str, axis: str) -> str:
    """Forest plot: gains with intervals below one another on one axis, grouped, with figures at the right."""
    if not rows:
        return ""
    width, left, right, step, heading = 440.0, 116.0, 138.0, 27.0, 24.0
    x = linear(interval_domain([row.interval for row in rows]), (left, width - right))
    body: list[str] = []
    top, group = 4.0, ""
    for row in rows:
        if row.group and row.group != group:
            group = row.group
            body.append(svg.text(0, top + 16, group, "axis-title"))
            top += heading
        body.append(svg.text(10, top + 18, row.label, "row-label"))
        body += _whisker(row.interval, x, top + 14, row.style, 4)
        body.append(svg.text(width, top + 18, row.interval.text(PAGE_GAIN), "row-value", "end"))
        top += step
    frame = [svg.line(x(0), 2, x(0), top + 4, "zero")]
    for tick in nice_ticks(*interval_domain([row.interval for row in rows])):
        frame += [
            svg.line(x(tick), top, x(tick), top + 4, "grid"),
            svg.text(x(tick), top + 17, number_text(tick, PAGE_GAIN), "tick", "middle"),
        ]
    frame.append(svg.text((left + width - right) / 2, top + 33, axis, "tick", "middle"))
    return svg.picture(width, top + 40, label, frame + body)


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str = "iteration", include: Sequence[float] = ()
) -> str:
    """Line chart over iterations: raw values faint, a moving average strong. Values in `include` stay in view.

    Returns "" if no series has a finite point.
    """
    drawn = [(item, thin(item.points)) for item in series]
    drawn = [(item, points) for item, points in drawn if points]
    if not drawn:
        return ""
    width, height, left, top, bottom = 360.0, 214.0, 46.0, 34.0, 34.0
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    domain = padded(ys, include=include)
    x, y = linear((min(xs), max(xs)), (left, width - 10)), linear(domain, (height - bottom, top))
    body = svg.axes(x, y, (min(xs), max(xs)), domain, (left, width - 10, height - bottom))
    for item, points in drawn:
        body += _curve(item, points, x, y)
    body += _legend([item for item, _ in drawn], left, width - 10, 14)
    body.append(svg.text((left + width) / 2, height - 4, x_label, "tick", "middle"))
    return svg.picture(width, height, title, body)


def _curve(item: Series, points: Sequence[Point], x: Scale, y: Scale) -> list[str]:
    if len(points) < 6:
        dots = [svg.dot(x(a), y(b), 3, f"dot f-{item.style}") for a, b in points]
        return [svg.path(points, x, y, f"curve c-{item.style}"), *dots]
    window = max(3, len(points) // 8)
    return [
        svg.path(points, x, y, f"curve faint c-{item.style}"),
        svg.path(smooth(points, window), x, y, f"curve c-{item.style}"),
    ]


def _legend(series: Sequence[Series], left: float, right: float, y: float) -> list[str]:
    body, x = [], left
    for item in series:
        length = 22 + 6.4 * len(item.name)
        if x > left and x + length > right:
            x, y = left, y + 13
        body += [svg.line(x, y - 4, x + 14, y - 4, f"curve c-{item.style}"), svg.text(x + 18, y, item.name, "legend")]
        x += length + 8
    return body


def scatter(points: Sequence[Point], *, x_label: str, y_label: str, title: str) -> str:
    """Scatter plot of scores over human ratings, both 0-5, with the diagonal and the mean of each rating band.

    Returns "" if there is no finite point.
    """
    clean = [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
    if not clean:
        return ""
    size, left, bottom = 320.0, 40.0, 38.0
    x, y = linear((-0.2, 5.2), (left, size - 8)), linear((-0.2, 5.2), (size - bottom, 8))
    body = svg.axes(x, y, (0, 5), (0, 5), (left, size - 8, size - bottom), rows=5)
    body.append(svg.line(x(0), y(0), x(5), y(5), "diagonal"))
    shown = clean[:: max(1, len(clean) // 1500)]
    body += [svg.dot(x(a), y(b), 2.6, "mark") for a, b in shown]
    body += _bands(clean, x, y)
    body.append(svg.text((left + size) / 2, size - 4, x_label, "tick", "middle"))
    body.append(svg.upright_text(12, size / 2 - 10, y_label))
    return svg.picture(size, size, title, body)


def _bands(points: Sequence[Point], x: Scale, y: Scale) -> list[str]:
    bands: dict[int, list[Point]] = {}
    for point in points:
        bands.setdefault(min(4, max(0, int(point[0]))), []).append(point)
    means = [
        (sum(a for a, _ in part) / len(part), sum(b for _, b in part) / len(part))
        for _, part in sorted(bands.items())
        if len(part) >= 3
    ]
    dots = [svg.dot(x(a), y(b), 4.5, "dot f-post") for a, b in means]
    return [svg.path(means, x, y, "curve c-post"), *dots] if means else []


def histogram(before: Sequence[float], after: Sequence[float], *, title: str, low: float = 2.0) -> str:
    """Share of cases in half-point bands of 0-5, before beside after, the band of low scores tinted.

    Returns "" if either side has no finite value.
    """
    shares = [_shares(values) for values in (before, after)]
    if any(share is None for share in shares):
        return ""
    width, height, left, bottom, top = 360.0, 214.0, 46.0, 34.0, 34.0
    drawn = [share for share in shares if share is not None]
    peak = max(max(share) for share in drawn) * 1.08
    x, y = linear((0, 5), (left, width - 10)), linear((0, peak), (height - bottom, top))
    body = [svg.rect((x(0), top), (x(low) - x(0), height - bottom - top), "tint")]
    for tick in nice_ticks(0, peak):
        body += [
            svg.line(left, y(tick), width - 10, y(tick), "grid"),
            svg.text(left - 6, y(tick) + 3.5, f"{tick:.0%}", "tick", "end"),
        ]
    body += [svg.text(x(tick), height - bottom + 15, f"{tick:g}", "tick", "middle") for tick in range(6)]
    bar = (x(0.5) - x(0)) / 2 - 2
    for side, (share, style) in enumerate(zip(drawn, ("base", "post"), strict=True)):
        for index, part in enumerate(share):
            corner = (x(index / 2) + 1.5 + side * (bar + 1), y(part))
            title = f"{index / 2:g} to {index / 2 + 0.5:g}: {part:.1%}"
            body.append(svg.rect(corner, (bar, y(0) - y(part)), f"f-{style}", title))
    body += _legend([Series("before", (), "base"), Series("after", ())], left, width, 14)
    body.append(svg.text((left + width) / 2, height - 4, "score", "tick", "middle"))
    return svg.picture(width, height, title, body)


def _shares(values: Sequence[float]) -> list[float] | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    counts = [0] * 10
    for value in finite:
        counts[min(9, max(0, int(value * 2)))] += 1
    return [count / len(finite) for count in counts]


def outcome_bar(win: int, tie: int, loss: int) -> str:
    """Stacked bar of the cases that got better, stayed equal, or got worse."""
    total = win + tie + loss
    if total == 0:
        return ""
    width, height, start, body = 300.0, 12.0, 0.0, []
    for count, style, name in ((win, "good", "better"), (tie, "rule", "about equal"), (loss, "bad", "worse")):
        part = width * count / total
        body.append(svg.rect((start, 0), (max(part - 1, 0), height), f"f-{style}", f"{count} {name}"))
        start += part
    return svg.picture(width, height, f"{win} better, {tie} about equal, {loss} worse", body, "chart outcome", "none")
