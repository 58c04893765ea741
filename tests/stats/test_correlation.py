"""Measures from shared resamples, against scipy and against counting pairs by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from hpedit.stats import correlation
from hpedit.stats.correlation import FEWEST, PAIRS, Resamples, count_pairs, pairwise_shares

RNG = np.random.default_rng(8)
Y = np.round(RNG.uniform(0, 5, 120) * 2) / 2
X = Y + RNG.normal(0, 1.0, 120)
SOURCES = [f"s{number}" for number in RNG.integers(30, size=120)]


def test_values_are_those_of_the_plain_formulas() -> None:
    draws = Resamples.of(SOURCES, resamples=0)
    found = {name: values[0] for name, values in draws.measure(X, Y).items()}
    assert found["pearson"] == pytest.approx(np.corrcoef(X, Y)[0, 1])
    assert found["spearman"] == pytest.approx(spearmanr(X, Y).statistic)
    assert found["mae"] == pytest.approx(np.abs(X - Y).mean())


def test_a_resample_is_the_table_with_its_photos_repeated() -> None:
    draws = Resamples.of(SOURCES, seed=1, resamples=3)
    rows = np.repeat(np.arange(120), draws.counts[2][draws.index].astype(int))
    again = Resamples.of([SOURCES[row] for row in rows.tolist()], resamples=0).measure(X[rows], Y[rows])
    for name in ("pearson", "spearman", "kendall", "mae"):
        assert draws.measure(X, Y)[name][2] == pytest.approx(again[name][0])


def test_differences_of_two_scores_are_paired() -> None:
    draws = Resamples.of(SOURCES)
    own, other = draws.measure(X, Y)["pearson"], draws.measure(X + RNG.normal(0, 0.01, 120), Y)["pearson"]
    gain, alone = draws.estimate(own - other), draws.estimate(own)
    assert gain.high - gain.low < 0.1 * (alone.high - alone.low)


def test_equal_seeds_give_equal_intervals_whatever_the_order_of_the_edits() -> None:
    order = RNG.permutation(120)
    one = Resamples.of(SOURCES, seed=4)
    two = Resamples.of([SOURCES[row] for row in order.tolist()], seed=4)
    first, second = one.estimate(one.measure(X, Y)["kendall"]), two.estimate(two.measure(X[order], Y[order])["kendall"])
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_ties_of_people_and_of_the_score_are_counted_apart() -> None:
    people = np.array([0, 1, 2, 2, 5, 5.0])
    score = np.array([0, 2, 1, 1, 3, 4.0])
    total = dict(zip(PAIRS, count_pairs(score, people, np.zeros(6, int)).sum(axis=0), strict=True))
    assert total == {"right": 11, "wrong": 2, "tied_by_score": 0, "tied_by_people": 1, "tied_by_both": 1}
    constant = dict(zip(PAIRS, count_pairs(np.ones(6), people, np.zeros(6, int)).sum(axis=0), strict=True))
    assert constant == {"right": 0, "wrong": 0, "tied_by_score": 13, "tied_by_people": 0, "tied_by_both": 2}


def test_pairs_are_of_one_photo_only() -> None:
    assert count_pairs(X[:4], Y[:4], np.arange(4)).sum() == 0
    assert count_pairs(X[:4], Y[:4], np.array([0, 1, 0, 1])).sum() == 2


def test_means_of_the_same_ratings_in_another_order_tie() -> None:
    marks = (5 * math.sqrt(0.5), 0.0, 5.0)
    one, two = (marks[0] + marks[1] + marks[2]) / 3, (marks[2] + marks[0] + marks[1]) / 3 + 1e-15
    assert count_pairs(np.array([1.0, 2.0]), np.array([one, two]), np.zeros(2, int)).sum(axis=0).tolist() == [
        0,
        0,
        0,
        1,
        0,
    ]


def test_a_photo_with_many_edits_is_counted_as_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    score, people, index = RNG.integers(9, size=90) * 1.0, RNG.integers(5, size=90) * 1.0, RNG.integers(3, size=90)
    plain = count_pairs(score, people, index)
    monkeypatch.setattr(correlation, "_MANY", 5)
    many = count_pairs(score, people, index)
    for photo in range(3):
        np.testing.assert_array_equal(plain[index == photo].sum(axis=0), many[index == photo].sum(axis=0))


def test_a_tie_of_the_score_is_half_wrong_or_left_out_by_name() -> None:
    shares = {name: values[0] for name, values in pairwise_shares(np.array([[6.0, 2.0, 2.0]])).items()}
    assert shares == {"pairwise_accuracy": 0.7, "pairwise_untied": 0.75, "pairwise_ties_wrong": 0.6}


def test_what_cannot_be_said_is_nan_and_never_zero() -> None:
    for scores, people, sources in (
        (X[:0], Y[:0], []),
        (X[:1], Y[:1], ["a"]),
        (np.ones(9), Y[:9], SOURCES[:9]),
        (X[:9], np.ones(9), SOURCES[:9]),
    ):
        draws = Resamples.of(sources)
        found = draws.measure(scores, people)
        assert all(math.isnan(draws.estimate(found[name]).value) for name in ("pearson", "spearman", "kendall"))
    assert math.isnan(found["pairwise_accuracy"][0])


def test_one_photo_has_values_but_no_interval() -> None:
    draws = Resamples.of(["a"] * 20)
    estimate = draws.estimate(draws.measure(X[:20], Y[:20])["pearson"])
    assert estimate.value > 0
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_pairs_too_few_to_vary_have_no_interval() -> None:
    draws = Resamples.of(["a", "a", "b", "b"])
    estimate = draws.estimate(draws.measure(np.array([1.0, 2, 1, 2]), np.array([0.0, 5, 0, 5]))["pairwise_accuracy"])
    assert (estimate.value, estimate.low) == (1.0, pytest.approx(math.nan, nan_ok=True))


def test_larger_tables_get_fewer_resamples() -> None:
    assert Resamples.of(["a", "b"] * 50).resamples == 1000
    assert Resamples.of(["a", "b"] * 5000).resamples == 400
    assert Resamples.of(["a", "b"] * 50_000).resamples == FEWEST
