"""Holm's correction is Holm's."""

import pytest

from hpedit.stats.holm import holm


def test_holm_steps_down():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
        "d": None,
    }
    assert holm({("a", 1): 0.6, ("b", 2): 0.9}) == {("a", 1): 1.0, ("b", 2): 1.0}
    assert holm({}) == {}


def test_equal_p_values_of_names_without_an_order_are_no_error():
    assert holm({("a", 1): 0.01, (1, "a"): 0.01}) == {("a", 1): 0.02, (1, "a"): 0.02}
