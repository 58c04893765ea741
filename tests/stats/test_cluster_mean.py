"""Means by source photo: textbook t where photos are equal, interval and p as one, and no certainty from few photos."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import Estimate
from hpedit.stats.cluster_mean import (
    FLOOR,
    cluster_means,
    is_clear,
    mean_ci,
    mean_intervals,
    paired_gain,
    raised_to_common,
)

RNG = np.random.default_rng(3)


def names(photos: int, cases: int) -> list[str]:
    """Source ids of so many cases a photo."""
    return [f"p{i // cases}" for i in range(photos * cases)]


def test_equal_photos_give_the_t_interval_of_their_means() -> None:
    level = np.array([0.4, -0.2, 0.1, 0.9, -0.5, 0.3, 0.7, -0.1, 0.2, 0.25])
    level = np.concatenate([level, 0.41 - level])  # Symmetric, so without skewness.
    found = mean_ci(level.repeat(3), names(20, 3))
    low, high = stats.t.interval(0.95, 19, level.mean(), stats.sem(level))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(stats.ttest_1samp(level, 0).pvalue)


def test_unequal_photos_have_fewer_degrees_of_freedom() -> None:
    sizes = [12, 1, 1, 1, 1, 1, 1, 1, 1]
    [mean] = cluster_means([RNG.normal(size=20)], [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)])
    assert 1 <= mean.freedom < 4
    [equal] = cluster_means([RNG.normal(size=20)], names(10, 2))
    assert equal.freedom == pytest.approx(9)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=12), st.floats(-2, 2))
def test_interval_and_p_never_disagree(values: list[float], shift: float) -> None:
    found = mean_ci(np.array(values) + shift, [str(i // 2) for i in range(len(values))])
    if min(abs(found.low), abs(found.high)) > 1e-9:
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
    assert found.low <= found.high


def test_losses_that_are_rare_lower_the_interval() -> None:
    values = np.array([0.2] * 19 + [-2.0])
    found = mean_ci(values, names(20, 1))
    assert found.value - found.low > 1.3 * (found.high - found.value)
    mirrored = mean_ci(-values, names(20, 1))
    assert (mirrored.low, mirrored.high, mirrored.p) == pytest.approx((-found.high, -found.low, found.p))


def test_an_interval_by_source_is_wider_than_one_by_edit_when_edits_of_a_photo_agree() -> None:
    values = RNG.normal(size=20).repeat(10) + 0.1 * RNG.normal(size=200)
    by_source, by_edit = mean_ci(values, names(20, 10)), mean_ci(values, names(200, 1))
    assert by_source.high - by_source.low > 2 * (by_edit.high - by_edit.low)


def test_equal_changes_of_all_photos_are_certain_and_those_of_one_are_not() -> None:
    sure = mean_ci([0.1] * 60, names(60, 1))
    assert (sure.low, sure.high, sure.p) == (sure.value, sure.value, 0.0)
    assert mean_ci([0.0] * 60, names(60, 1)).p == 1.0
    assert math.isnan(mean_ci([0.1] * 60, ["one"] * 60).p)


def test_NaN_and_the_order_of_cases_do_not_matter() -> None:
    changes, sources = RNG.normal(0.2, 1, 80), names(40, 2)
    order = RNG.permutation(80)
    found = mean_ci(changes, sources)
    assert mean_ci([*changes, math.nan], [*sources, "other"]) == found
    again = mean_ci(changes[order], [sources[i] for i in order])
    assert dataclasses.astuple(again) == pytest.approx(dataclasses.astuple(found))


def test_columns_together_are_the_columns_alone() -> None:
    columns, sources = [RNG.normal(size=90) for _ in range(3)], [f"p{i % 30}" for i in range(90)]
    together, alone = mean_intervals(columns, sources), [mean_ci(column, sources) for column in columns]
    for one, other in zip(together, alone, strict=True):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))


def test_a_task_without_a_disaster_is_as_uncertain_as_all_tasks() -> None:
    tasks = [[0.1, 0.11, 0.09, 0.1, 0.12, 0.1, 0.08, 0.1] for _ in range(4)]
    tasks[3] = [*tasks[3][:-1], -4.0]
    parts = [cluster_means([np.array(task)], names(8, 1))[0] for task in tasks]
    assert all(part.estimate().p < 1e-6 for part in parts[:3])
    raised = raised_to_common(parts)
    assert all(part.estimate().p > 0.5 for part in raised[:3])
    assert raised[3] == parts[3], "the one that saw it keeps its own"
    pooled = sum(part.variance for part in parts) / 4
    assert raised[0].variance == pytest.approx(FLOOR * pooled)
    assert raised_to_common(parts[:1]) == parts[:1]


def test_a_paired_gain_leaves_out_pairs_with_an_unscorable_side() -> None:
    gain = paired_gain([1, 2, math.nan, 3], [2, 3, 5, math.nan], ["a", "b", "c", "d"])
    assert (gain.value, gain.n, gain.sources) == (1.0, 2, 2)


@pytest.mark.parametrize(("values", "n"), [([], 0), ([math.nan], 0), ([2.0], 1), ([2.0, 4.0], 2)])
def test_too_little_has_no_interval_and_is_written_as_null(values: list[float], n: int) -> None:
    estimate = mean_ci(values, ["same"] * len(values))
    assert estimate.n == n
    assert estimate.as_dict("mean")["ci95"] == [None, None]
    assert (estimate.as_dict("mean")["mean"] is None) == (n == 0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(HPEditError, match="2 values but 1 source"):
        mean_ci([1, 2], ["a"])
    with pytest.raises(HPEditError, match="needs pairs"):
        paired_gain([1, 2], [1], ["a", "b"])


@pytest.mark.parametrize(
    ("low", "corrected", "photos", "clear"),
    [(0.1, 0.01, 8, True), (-0.1, 0.01, 8, False), (0.1, 0.06, 8, False), (0.1, 0.01, 7, False), (0.1, None, 8, False)],
)
def test_a_gain_is_clear_if_interval_p_and_photos_agree(low: float, corrected: float, photos: int, clear: bool) -> None:
    assert is_clear(Estimate(0.2, low, 0.3, 20, photos), corrected) == clear
