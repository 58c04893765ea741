"""Estimates by source: weighted statistics equal their plain forms, intervals cover, and undefined is never 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import (
    Estimate,
    Statistic,
    bootstrap_by_source,
    expanded_percentiles,
    ratio_of_sums,
    weighted_mean,
    weighted_pearson,
    weighted_spearman,
)

RNG = np.random.default_rng(3)
COLUMNS = np.column_stack([RNG.integers(0, 4, 30), RNG.integers(0, 6, 30)]).astype(float)


@pytest.mark.parametrize(
    ("weighted", "plain"), [(weighted_pearson, stats.pearsonr), (weighted_spearman, stats.spearmanr)]
)
def test_a_weight_of_k_equals_k_copies_of_the_observation(weighted: Statistic, plain: Callable[..., Any]) -> None:
    weights = RNG.integers(0, 4, (5, 30)).astype(float)
    expected = [plain(*COLUMNS.repeat(row.astype(int), axis=0).T).statistic for row in weights]
    np.testing.assert_allclose(weighted(COLUMNS, weights), expected, atol=1e-12)


@pytest.mark.parametrize("statistic", [weighted_pearson, weighted_spearman])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 + 0.1])
def test_a_constant_side_has_no_correlation(statistic: Statistic, constant: float) -> None:
    columns = COLUMNS.copy()
    columns[:, 0] = constant
    assert np.isnan(statistic(columns, np.ones((2, 30)))).all()


def test_a_resample_that_is_constant_is_undefined_not_zero() -> None:
    columns = np.array([[1.1, 0.0], [1.1, 3.0], [2.0, 5.0]])
    assert np.isnan(weighted_pearson(columns, np.array([[2.0, 3.0, 0.0]]))).all()
    assert np.isnan(weighted_spearman(columns, np.array([[2.0, 3.0, 0.0]]))).all()


def test_a_share_is_of_sums_and_undefined_without_parts() -> None:
    assert ratio_of_sums(np.array([[0.5, 1], [1, 1], [0, 0]]), np.ones((1, 3)))[0] == 0.75
    assert np.isnan(ratio_of_sums(np.zeros((1, 2)), np.ones((1, 1)))[0])


def test_few_sources_widen_the_percentiles_to_those_of_a_t_interval() -> None:
    level = np.random.default_rng(0).normal(size=6)
    found = bootstrap_by_source(level, list("abcdef"), weighted_mean, n=20_000)
    low, high = stats.t.interval(0.95, 5, level.mean(), stats.sem(level))
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)
    drawn = np.random.default_rng(1).normal(size=100_000)
    assert expanded_percentiles(drawn, 10_000) == pytest.approx((-1.96, 1.96), abs=0.03)


def test_equal_inputs_give_equal_intervals_and_a_long_table_is_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [str(i % 7) for i in range(30)]
    whole = bootstrap_by_source(COLUMNS, sources, weighted_pearson, seed=4, n=500)
    assert whole == bootstrap_by_source(COLUMNS, sources, weighted_pearson, seed=4, n=500)
    monkeypatch.setattr("hpedit.stats.bootstrap._CELLS", 30 * 64)
    assert whole == bootstrap_by_source(COLUMNS, sources, weighted_pearson, seed=4, n=500)


@pytest.mark.parametrize(("values", "n"), [([], 0), ([math.nan], 0), ([2.0], 1), ([2.0, 4.0], 2)])
def test_too_little_has_no_interval_and_is_written_as_null(values: list[float], n: int) -> None:
    estimate = bootstrap_by_source(values, ["same"] * len(values), weighted_mean)
    assert estimate.n == n
    assert estimate.as_dict("mean")["ci95"] == [None, None]
    assert (estimate.as_dict("mean")["mean"] is None) == (n == 0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(HPEditError, match="2 values but 1 source"):
        bootstrap_by_source([1, 2], ["a"], weighted_mean)


def test_a_mean_is_a_mean() -> None:
    assert weighted_mean(np.array([1.0, 4.0]), np.array([[1.0, 2.0]]))[0] == 3.0
    assert Estimate(0.5, 0.25, 0.75, 4, 2).as_dict() == {"value": 0.5, "ci95": [0.25, 0.75]}
