"""Charts are pure text, bounded in size, and never draw what is not a number."""

import math
import re
from xml.etree import ElementTree

import pytest

from hpedit.report import charts
from hpedit.report.charts import ForestRow, Series
from hpedit.stats.intervals import Interval


def numbers_in(svg):
    return [float(text) for text in re.findall(r' (?:x|y|cx|cy|x1|x2|y1|y2)="([^"]+)"', svg)]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 60, 10_000])
def test_a_line_chart_of_any_length_is_small_and_well_formed(count):
    svg = charts.line_chart([Series("reward", [(i, math.sin(i)) for i in range(count)])], title="reward")
    if count == 0:
        assert svg == ""
        return
    ElementTree.fromstring(svg)
    assert len(svg) < 20_000


def test_long_series_are_averaged_not_sampled():
    spike = [(i, 1000.0 if i == 4321 else 0.0) for i in range(10_000)]
    assert len(charts.thin(spike)) == charts.MAX_POINTS
    assert max(y for _, y in charts.thin(spike)) > 0


def test_values_that_are_not_finite_are_left_out():
    points = [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]
    svg = charts.line_chart([Series("a", points)], title="a")
    assert "nan" not in svg
    assert "inf" not in svg
    assert charts.line_chart([Series("a", [(0, math.nan)])], title="a") == ""
    assert charts.scatter([(math.nan, 1.0)], x_label="x", y_label="y", title="t") == ""
    assert charts.histogram([math.nan], [1.0], title="t") == ""


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-9, 1e9])
def test_a_constant_series_has_an_axis(value):
    svg = charts.line_chart([Series("a", [(0, value), (1, value)])], title="a")
    assert all(math.isfinite(number) for number in numbers_in(svg))


def test_labels_are_escaped():
    evil = '"><script>alert(1)</script>'
    rows = [ForestRow(evil, Interval(0.1, 0.0, 0.2), group=evil)]
    texts = [
        charts.forest_plot(rows, label=evil, axis=evil),
        charts.line_chart([Series(evil, [(0, 1.0)])], title=evil, x_label=evil),
        charts.scatter([(1.0, 1.0)], x_label=evil, y_label=evil, title=evil),
    ]
    for svg in texts:
        assert "<script" not in svg
        ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.3, 1), (-0.3, -0.1, -1), (-0.1, 0.1, 0), (None, None, 0), (0.0, 0.2, 0)]
)
def test_only_an_interval_that_excludes_0_has_a_sign(low, high, expected):
    assert Interval(0.1, low, high).sign == expected


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 0.7), (1e-7, 3e-7), (0, 12345), (2, 2)])
def test_ticks_are_few_and_lie_within(low, high):
    ticks = charts.nice_ticks(low, high)
    assert 1 <= len(ticks) <= 7
    slack = (high - low) * 1e-6
    assert all(low - slack <= tick <= high + slack for tick in ticks)


def test_the_smooth_line_keeps_level_and_length():
    points = [(float(i), 2.0) for i in range(9)]
    assert charts.smooth(points, 4) == points


def test_outcomes_fill_the_bar():
    svg = charts.outcome_bar(3, 1, 0)
    widths = [float(width) for width in re.findall(r'width="([0-9.]+)" height="12.0"', svg)]
    assert widths == [224.0, 74.0, 0.0]
    assert charts.outcome_bar(0, 0, 0) == ""
