"""Kendall's tau-b of a table and of its resamples, against scipy and against counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from hpedit.stats import kendall
from hpedit.stats.kendall import dominated, kendall_tau_b

RNG = np.random.default_rng(3)
X = np.round(RNG.normal(size=200), 1)
Y = np.round(X + RNG.normal(size=200))
INDEX = RNG.integers(40, size=200)
ONCE = np.ones((1, 40))


@pytest.fixture(params=[kendall.EXACT, 0], ids=["pair by pair", "first order"])
def any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kendall, "EXACT", request.param)


@pytest.mark.usefixtures("any_size")
def test_the_value_is_scipys_for_small_and_large_tables() -> None:
    assert kendall_tau_b(X, Y, INDEX, ONCE)[0] == pytest.approx(kendalltau(X, Y).statistic)


@pytest.mark.usefixtures("any_size")
def test_perfect_order_is_one_and_its_reverse_minus_one() -> None:
    x = np.arange(6.0)
    assert kendall_tau_b(x, x, np.arange(6), np.ones((1, 6)))[0] == 1
    assert kendall_tau_b(x, -x, np.arange(6), np.ones((1, 6)))[0] == -1


@pytest.mark.usefixtures("any_size")
def test_R12_no_edit_one_edit_and_a_side_that_does_not_vary_have_no_tau() -> None:
    for x, y in ((X[:0], Y[:0]), (X[:1], Y[:1]), (X, np.full(200, 2.0)), (np.zeros(200), Y)):
        assert np.isnan(kendall_tau_b(x, y, INDEX[: len(x)], ONCE)).all()


def test_a_resample_is_the_table_with_its_photos_repeated() -> None:
    counts = np.bincount(RNG.integers(40, size=40), minlength=40).astype(float)
    rows = np.repeat(np.arange(200), counts[INDEX].astype(int))
    assert kendall_tau_b(X, Y, INDEX, counts[None])[0] == pytest.approx(kendalltau(X[rows], Y[rows]).statistic)


def test_the_interval_of_large_tables_is_nearly_that_of_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = RNG.multinomial(40, np.full(40, 1 / 40), size=500).astype(float)
    exact = np.percentile(kendall_tau_b(X, Y, INDEX, counts), [2.5, 97.5])
    monkeypatch.setattr(kendall, "EXACT", 0)
    near = np.percentile(kendall_tau_b(X, Y, INDEX, counts), [2.5, 97.5])
    assert np.abs(near - exact).max() < 0.15 * np.ptp(exact)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
def test_dominance_counts_are_those_of_looking_at_every_pair(n: int) -> None:
    x, y = RNG.integers(6, size=n).astype(float), RNG.integers(9, size=n).astype(float)
    brute = [int(((x < a) & (y < b)).sum()) for a, b in zip(x, y, strict=True)]
    assert dominated(x, y).tolist() == brute
