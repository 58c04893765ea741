"""The sign-flip test is exact where it can be, keeps its level where it is not, and Holm's correction is Holm's."""

import itertools

import numpy as np
import pytest

from hpedit.stats.bootstrap import mean_ci, mean_intervals
from hpedit.stats.paired import EXACT_SOURCES, holm, sign_flip_p


def test_few_photos_are_counted_exactly():
    changes, sources = [1.0, 0.5, -0.25, 0.75, 0.1], ["a", "a", "b", "c", "d"]
    sums = [1.5, -0.25, 0.75, 0.1]
    totals = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in itertools.product((1, -1), repeat=4)
    ]
    expected = sum(total >= abs(sum(sums)) - 1e-12 for total in totals) / 16
    assert sign_flip_p(changes, sources) == expected


def test_equal_changes_of_many_photos_are_significant_and_of_one_are_not():
    names = [f"p{i}" for i in range(60)]
    assert sign_flip_p([0.1] * 60, names) == pytest.approx(1 / 20_001)
    assert sign_flip_p([0.1] * 60, ["one"] * 60) == 1.0
    assert sign_flip_p([0.0] * 60, names) == 1.0
    assert sign_flip_p([np.nan] * 3, ["a", "b", "c"]) is None


def test_NaN_and_the_order_of_cases_do_not_matter():
    rng = np.random.default_rng(1)
    changes, names = rng.normal(0.2, 1, 80), [f"p{i // 2}" for i in range(80)]
    order = rng.permutation(80)
    with_gap = sign_flip_p([*changes, np.nan], [*names, "other"])
    assert with_gap == sign_flip_p(changes, names) == sign_flip_p(changes[order], [names[i] for i in order])


@pytest.mark.parametrize("photos", [EXACT_SOURCES, 40])
def test_no_difference_is_called_significant_in_one_of_twenty(photos):
    """Cases of one photo share its luck: flipping case by case would be wrong far more often than 5 %."""
    rng = np.random.default_rng(0)
    names = [f"p{i // 4}" for i in range(4 * photos)]
    p = [
        sign_flip_p(np.repeat(rng.normal(size=photos), 4) + 0.3 * rng.normal(size=4 * photos), names) for _ in range(60)
    ]
    assert sum(value <= 0.05 for value in p) <= 8


def test_holm_steps_down():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": None}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
        "d": None,
    }
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize("photos", [1, 2, 30])
def test_shared_resamples_give_the_intervals_of_each_column_alone(photos):
    rng = np.random.default_rng(2)
    columns, names = [rng.normal(size=90) for _ in range(3)], [f"p{i % photos}" for i in range(90)]
    for column, found in zip(columns, mean_intervals(columns, names, 5), strict=True):
        alone = mean_ci(column, names, 5)
        assert (found.n, found.sources) == (alone.n, alone.sources)
        assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high), nan_ok=True)
