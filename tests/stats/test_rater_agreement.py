"""People among themselves: the human ceiling and Krippendorff's alpha."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpedit.stats.bootstrap import FloatArray
from hpedit.stats.correlation import MEASURES
from hpedit.stats.rater_agreement import human_ceiling, krippendorff_alpha, mean_rating

NAN = math.nan


def test_alpha_is_that_of_the_published_example() -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: interval data, alpha = 0.849."""
    observers: FloatArray = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
            [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
        ]
    )
    assert krippendorff_alpha(observers.T) == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize("table", [[[1.0], [2.0]], [[3.0, 3.0], [3.0, 3.0]], [[1.0, NAN], [NAN, 2.0]]])
def test_alpha_of_one_rater_of_ties_and_of_nothing_shared_is_undefined(table: list[list[float]]) -> None:
    assert math.isnan(krippendorff_alpha(np.array(table)))


def test_raters_who_agree_are_their_own_ceiling() -> None:
    ratings = np.repeat(np.arange(12.0)[:, None] % 5, 3, axis=1)
    ceiling = human_ceiling(ratings, [str(row // 3) for row in range(12)])
    assert [ceiling[name].value for name in MEASURES] == pytest.approx([1.0] * len(MEASURES))
    assert ceiling["mae"].value == 0


def test_the_ceiling_is_the_average_of_each_rater_against_the_others() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 6, (40, 1)) + rng.integers(0, 3, (40, 3)).astype(float)
    ceiling = human_ceiling(ratings, [str(row // 4) for row in range(40)])
    each = [np.corrcoef(ratings[:, k], np.delete(ratings, k, axis=1).mean(axis=1))[0, 1] for k in range(3)]
    assert ceiling["pearson"].value == pytest.approx(np.mean(each))
    assert ceiling["pearson"].low < ceiling["pearson"].value < ceiling["pearson"].high
    assert ceiling["pearson"].sources == 10


@pytest.mark.parametrize("raters", [1, 2])
def test_a_single_rater_has_no_ceiling(raters: int) -> None:
    ratings = np.full((10, raters), NAN)
    ratings[:, 0] = np.arange(10) % 6
    assert all(math.isnan(estimate.value) for estimate in human_ceiling(ratings, ["s"] * 10).values())


def test_raters_who_saw_different_edits_are_compared_where_they_meet() -> None:
    ratings = np.array([[0, 1, NAN], [2, 2, NAN], [5, 4, NAN], [NAN, 3, 3], [NAN, 0, 1], [NAN, 5, 5], [4, NAN, NAN]])
    ceiling = human_ceiling(ratings, list("aabbcca"))
    assert ceiling["pearson"].value > 0.9
    assert ceiling["pearson"].n == 12


def test_an_edit_that_nobody_rated_has_no_mean() -> None:
    np.testing.assert_array_equal(mean_rating(np.array([[1.0, 2.0], [NAN, 4.0], [NAN, NAN]])), [1.5, 4.0, NAN])
