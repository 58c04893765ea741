"""Kendall's tau-b of a table and of its resamples, against scipy and against counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from hpedit.stats.correlation import kendall_tau_b

RNG = np.random.default_rng(3)
X = np.round(RNG.normal(size=200), 1)
Y = np.round(X + RNG.normal(size=200))
INDEX = RNG.integers(40, size=200)
ONCE = np.ones((1, 40))


def test_the_value_is_scipys() -> None:
    assert kendall_tau_b(X, Y, INDEX, ONCE)[0] == pytest.approx(kendalltau(X, Y).statistic)


def test_perfect_order_is_one_and_its_reverse_minus_one() -> None:
    x = np.arange(6.0)
    assert kendall_tau_b(x, x, np.arange(6), np.ones((1, 6)))[0] == 1
    assert kendall_tau_b(x, -x, np.arange(6), np.ones((1, 6)))[0] == -1


def test_no_edit_one_edit_and_a_side_that_does_not_vary_have_no_tau() -> None:
    for x, y in ((X[:0], Y[:0]), (X[:1], Y[:1]), (X, np.full(200, 2.0)), (np.zeros(200), Y)):
        assert np.isnan(kendall_tau_b(x, y, INDEX[: len(x)], ONCE)).all()


def test_a_resample_is_the_table_with_its_photos_repeated() -> None:
    counts = np.bincount(RNG.integers(40, size=40), minlength=40).astype(float)
    rows = np.repeat(np.arange(200), counts[INDEX].astype(int))
    assert kendall_tau_b(X, Y, INDEX, counts[None])[0] == pytest.approx(kendalltau(X[rows], Y[rows]).statistic)
