"""A gain over seeds: its interval covers both what varies between trainings and what varies between photographs."""

import numpy as np
import pytest
from scipy import stats

from hpedit.errors import HPEditError
from hpedit.experiments.seed_statistics import seed_gain


def gains(rng, *, photos, seeds, between_seeds, between_photos, truth=0.3, cases=4):
    photo = rng.normal(0, between_photos, photos)
    return [
        {f"photo-{i}": list(truth + luck + photo[i] + rng.normal(0, 0.3, cases)) for i in range(photos)}
        for luck in rng.normal(0, between_seeds, seeds)
    ]


def test_the_value_is_the_mean_over_seeds_whatever_their_numbers_of_cases():
    found = seed_gain([{"a": [1.0, 1.0], "b": [0.0, 0.0]}, {"a": [2.0], "b": []}, {"b": [0.0]}])
    assert found.per_seed == (0.5, 2.0, 0.0)
    assert found.value == pytest.approx(2.5 / 3)
    assert (found.seeds, found.sources, found.n) == (3, 2, 6)
    assert found.low < found.value < found.high


def test_equal_inputs_give_equal_intervals_whatever_the_order_of_photos():
    data = gains(np.random.default_rng(0), photos=10, seeds=3, between_seeds=0.1, between_photos=0.2)
    assert seed_gain(data) == seed_gain(data)
    backwards = seed_gain([dict(reversed(one.items())) for one in data])
    assert (backwards.low, backwards.high) == pytest.approx((seed_gain(data).low, seed_gain(data).high))


@pytest.mark.parametrize(("between_seeds", "between_photos"), [(0.1, 0.0), (0.0, 0.5), (0.1, 0.5)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(between_seeds, between_photos):
    rng = np.random.default_rng(1)
    found = [
        seed_gain(gains(rng, photos=30, seeds=3, between_seeds=between_seeds, between_photos=between_photos))
        for _ in range(300)
    ]
    hits = sum(one.low <= 0.3 <= one.high for one in found)
    assert 0.92 * 300 <= hits <= 0.985 * 300, hits


def test_equal_seeds_tell_as_much_of_the_photographs_as_one_does():
    values = np.random.default_rng(4).normal(size=20)
    found = seed_gain([{f"photo-{i}": [value] for i, value in enumerate(values)}] * 3)
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, test.pvalue))


def test_equal_photographs_leave_the_t_interval_of_the_seeds():
    found = seed_gain([{f"photo-{i}": [luck] for i in range(9)} for luck in (0.1, 0.2, 0.4)])
    test = stats.ttest_1samp([0.1, 0.2, 0.4], 0)
    interval = test.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, test.pvalue))


def test_one_seed_or_one_photo_has_no_interval():
    assert seed_gain([{"a": [0.1], "b": [0.2]}]).as_dict()["ci95"] is None
    assert seed_gain([{"a": [0.1]}, {"a": [0.2]}]).as_dict()["ci95"] is None


@pytest.mark.parametrize("data", [[], [{"a": [1.0]}, {}], [{"a": [float("nan")]}, {"a": [1.0]}]])
def test_what_is_no_measurement_is_refused(data):
    with pytest.raises(HPEditError):
        seed_gain(data)
