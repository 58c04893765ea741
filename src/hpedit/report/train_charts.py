"""The charts of a training run's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from hpedit.report import svg
from hpedit.report.charts import Series, line_chart, padded
from hpedit.report.svg import Point, Scale, linear
from hpedit.rl.monitor.evaluations import Evaluation, HeldOutTable
from hpedit.stats.intervals import PAGE_GAIN, Interval, finite_number

View = dict[str, Any]
Line = tuple[str, str, Sequence[tuple[float, Interval]]]
"""Name, style, and (iteration, gain) of each evaluation."""

NAMES = {"scorer": "Scorer", "second": "Second judge", "oracle": "Oracle"}
STYLES = ("post", "control", "third", "fourth", "base")
PIXELS = (
    ("sharpness", "Sharpness"),
    ("saturation", "Saturation"),
    ("grid_energy", "Grid"),
    ("closeness", "Closeness"),
    ("displacement", "Displacement"),
)

NOTES = {"closeness": "to the source; 1: unchanged", "displacement": "of what should stay, in pixels; 0: none"}
"""What a measure is of, where that of a source is known beforehand."""


def held_out_charts(table: HeldOutTable | None) -> list[View]:
    """Gains with intervals by each instrument, then the pixel measures; [] before the first evaluation."""
    if table is None or not table.evaluations:
        return []
    lines: list[Line] = [
        (NAMES.get(name, name), style, [(0.0, Interval(0.0)), *_points(table, name)])
        for name, style in zip(ordered(table), STYLES, strict=False)
    ]
    gains = {
        "title": "Gain over the base",
        "note": "paired, with 95\N{NARROW NO-BREAK SPACE}% intervals over source photographs",
        "svg": Markup(gain_chart(lines, title="held-out gain")),
    }
    return [gains, *(_pixel_chart(table, key, name) for key, name in PIXELS if key in table.base.pixels)]


def ordered(table: HeldOutTable) -> list[str]:
    """Names of the instruments: the scorer, further rewards, the second judge, the oracle."""
    last = {"second": 1, "oracle": 2}
    return sorted(table.base.scores, key=lambda name: (name != "scorer", last.get(name, 0), name))


def _pixel_chart(table: HeldOutTable, key: str, name: str) -> View:
    """How one measure of the edits went, beside the sources' where these differ from one another."""
    looks = [(float(look.step), _mean(look.pixels.get(key, ()))) for look in (table.base, *table.evaluations)]
    points = [(step, mean) for step, mean in looks if mean is not None]
    series, note = [Series("edits", points)], NOTES.get(key, "of the edits, beside their sources")
    if key not in NOTES:
        source = _mean(table.sources[key]) or 0.0
        series.append(Series("sources", [(points[0][0], source), (points[-1][0], source)], "base"))
    return {"title": name, "note": note, "svg": Markup(line_chart(series, title=name))}


def _points(table: HeldOutTable, name: str) -> list[tuple[float, Interval]]:
    found = [(float(look.step), gain_interval(table, look, name)) for look in table.evaluations]
    return [(step, interval) for step, interval in found if interval is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def gain_chart(lines: Sequence[Line], *, title: str) -> str:
    """Held-out gains over the iterations: a line per instrument, with an error bar per evaluation."""
    width, height, left, top, bottom = 440.0, 230.0, 46.0, 34.0, 34.0
    intervals = [interval for _, _, points in lines for _, interval in points]
    bounds = [bound for one in intervals for bound in (one.value, one.low, one.high) if bound is not None]
    steps = [step for _, _, points in lines for step, _ in points]
    xs, ys, right = (min(steps), max(steps)), padded(bounds, include=(0.0,)), width - 14
    x, y = linear(xs, (left + 8, right - 8)), linear(ys, (height - bottom, top))
    body = [*svg.axes(x, y, xs, ys, (left, right, height - bottom)), svg.line(left, y(0), right, y(0), "zero")]
    at = left
    for place, (name, style, points) in enumerate(lines):
        body += _gain_line(name, style, points, _shifted(x, (place - (len(lines) - 1) / 2) * 3), y)
        body += [svg.line(at, 10, at + 14, 10, f"curve c-{style}"), svg.text(at + 18, 14, name, "legend")]
        at += 36 + 6.6 * len(name)
    body.append(svg.text((left + width) / 2, height - 4, "iteration", "tick", "middle"))
    return svg.picture(width, height, title, body)


def _gain_line(name: str, style: str, points: Sequence[tuple[float, Interval]], x: Scale, y: Scale) -> list[str]:
    path: list[Point] = [(step, one.value) for step, one in points]
    body = [svg.path(path, x, y, f"curve thin c-{style}")]
    for step, one in points:
        if one.low is not None and one.high is not None:
            body.append(svg.line(x(step), y(one.low), x(step), y(one.high), f"whisker c-{style}"))
        said = f"{name}, iteration {step:g}: {one.text(PAGE_GAIN)}"
        body.append(svg.dot(x(step), y(one.value), 3.2, f"dot f-{style}", said))
    return body


def _shifted(scale: Scale, by: float) -> Scale:
    return lambda value: scale(value) + by


def gain_interval(table: HeldOutTable, look: Evaluation, name: str) -> Interval | None:
    """One instrument's gain at an evaluation; None if nothing could be scored."""
    gain = table.gain(look, name)
    if gain is None:
        return None
    return Interval(gain.value, finite_number(gain.low), finite_number(gain.high), photos=gain.sources)
