"""A gain over seeds: its interval covers both what varies between trainings and what varies between photographs."""

import numpy as np
import pytest

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
    hits = 0
    for _ in range(120):
        data = gains(rng, photos=30, seeds=3, between_seeds=between_seeds, between_photos=between_photos)
        found = seed_gain(data, draws=600)
        hits += found.low <= 0.3 <= found.high
    assert hits >= 0.85 * 120, hits


def test_photographs_are_drawn_for_all_seeds_at_once():
    """Three equal seeds tell as much of the photographs as one does; drawn apart, the interval would shrink by 0.58."""
    one = {f"photo-{i}": [float(i)] for i in range(20)}
    found = seed_gain([one] * 3)
    drawn = np.random.default_rng(0).integers(0, 20, (4000, 20)).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)


def test_one_seed_or_one_photo_has_no_interval():
    assert seed_gain([{"a": [0.1], "b": [0.2]}]).as_dict()["ci95"] is None
    assert seed_gain([{"a": [0.1]}, {"a": [0.2]}]).as_dict()["ci95"] is None


@pytest.mark.parametrize("data", [[], [{"a": [1.0]}, {}], [{"a": [float("nan")]}, {"a": [1.0]}]])
def test_what_is_no_measurement_is_refused(data):
    with pytest.raises(HPEditError):
        seed_gain(data)
