"""An estimate and its 95 % interval are written the same everywhere, whatever is unknown or rounds to nothing."""

import math

import pytest

from hpedit.stats.intervals import GAIN, PAGE, PAGE_GAIN, Interval, interval_text, number_text


@pytest.mark.parametrize(
    ("style", "expected"),
    [(GAIN, "-0.42 [-0.50, +0.10]"), (PAGE, "−0.42 [−0.50, 0.10]"), (PAGE_GAIN, "−0.42 [−0.50, +0.10]")],
)
def test_a_style_says_how_signs_are_written(style, expected):
    assert Interval(-0.419, -0.5, 0.1).text(style) == expected


def test_what_rounds_to_nothing_has_no_sign():
    for style in (GAIN, PAGE, PAGE_GAIN):
        assert number_text(-0.001, style) == number_text(0.001, style) == "0.00"
    assert number_text(-0.001, digits=3) == "-0.001"


def test_the_unknown_is_named_and_never_0():
    assert interval_text(None) == interval_text({"value": None, "ci95": [None, None]}) == "n/a"
    assert interval_text({"mean": 0.5, "ci95": [None, None]}) == interval_text({"mean": 0.5, "ci95": None}) == "0.50"
    assert Interval.read({"value": math.nan}) is None
    assert Interval.read({"gain": {"mean": True}}, "gain") is None
    assert Interval(0.5).bounds() == ""


def test_another_unit_keeps_low_below_high():
    assert Interval(0.5, 0.25, 1.0).scaled(100).text(digits=0) == "50 [25, 100]"
    assert Interval(0.5, 0.25, 1.0).scaled(-1) == Interval(-0.5, -1.0, -0.25)
