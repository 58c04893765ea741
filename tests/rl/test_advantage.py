"""Advantages: groups, what is left out, and that nothing explodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.errors import HPEditError
from hpedit.rl.advantage import combined_advantages, group_advantages, reward_from_score

NAN, INF = float("nan"), float("inf")
EVEN = {"a": 1.0, "b": 1.0}
BATCHES = st.lists(st.tuples(st.one_of(st.none(), st.floats(0.0, 1.0)), st.integers(0, 3)), max_size=24)


def test_reward_map_of_the_paper():
    assert [round(reward_from_score(s), 4) for s in range(6)] == [0.0067, 0.0474, 0.2689, 0.7311, 0.9526, 0.9933]


@pytest.mark.parametrize("std", ["group", "batch"])
def test_advantage_is_centred_in_its_group(std):
    result = group_advantages([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1], std=std)
    assert result.active.all()
    for group in (slice(0, 2), slice(2, 4)):
        assert result.values[group].sum() == pytest.approx(0)
        assert result.values[group][0] < 0 < result.values[group][1]


def test_std_of_the_group_or_of_the_batch():
    rewards, groups = [0.0, 0.2, 0.5, 1.0], [0, 0, 1, 1]
    by_group = group_advantages(rewards, groups, std="group").values
    assert by_group == pytest.approx([-0.1 / 0.1001, 0.1 / 0.1001, -0.25 / 0.2501, 0.25 / 0.2501])
    by_batch = group_advantages(rewards, groups, std="batch").values
    assert by_batch[1] == pytest.approx(0.1 / (np.std(rewards) + 1e-4))


@pytest.mark.parametrize("std", ["group", "batch"])
def test_equal_rewards_give_exactly_zero_and_the_group_is_skipped(std):
    result = group_advantages([0.4] * 4 + [0.1, 0.9], [0] * 4 + [1] * 2, std=std)
    assert (result.values[:4] == 0.0).all()
    assert not result.active[:4].any()
    assert result.active[4:].all()
    assert len(result.zero_variance_groups) == 1
    assert result.frac_zero_std == 0.5


@pytest.mark.parametrize("std", ["group", "batch"])
def test_float_residue_gives_no_advantage(std):
    rewards = [float(np.float32(0.7))] * 7 + [float(np.nextafter(np.float32(0.7), np.float32(1)))]
    result = group_advantages(rewards, [0] * 8, std=std)
    assert (result.values == 0.0).all()
    assert len(result.zero_variance_groups) == 1


def test_a_tiny_spread_is_held_down_by_the_floor():
    result = group_advantages([0.5] * 7 + [0.50001], [0] * 8, std="group")
    assert np.abs(result.values).max() < 0.1


def test_an_outlier_is_clipped():
    assert group_advantages([0.0] * 99 + [1.0], [0] * 100, std="group").values.max() == 5.0


def test_none_is_left_out_of_the_group_and_counted():
    with_none = group_advantages([0.1, None, 0.9], [0, 0, 0], std="group")
    without = group_advantages([0.1, 0.9], [0, 0], std="group")
    assert with_none.unscorable == 1
    assert list(with_none.active) == [True, False, True]
    assert with_none.values[[0, 2]] == pytest.approx(without.values)


def test_a_group_of_none_or_of_one_survivor_gives_no_signal():
    result = group_advantages([None, None, 0.9, None], [0, 0, 1, 1])
    assert not result.active.any()
    assert (result.values == 0.0).all()
    assert (result.unscorable, len(result.zero_variance_groups)) == (3, 2)


def test_nan_is_not_a_reward():
    with pytest.raises(AssertionError, match="finite or None"):
        group_advantages([0.1, float("nan")], [0, 0])


def test_zero_variance_groups_are_named_for_dynamic_sampling():
    result = group_advantages([0.4, 0.4, 0.1, 0.9, None, 0.3], [7, 7, 3, 3, 5, 5])
    assert result.zero_variance_groups == (5, 7)
    assert len(result.zero_variance_groups) == 2
    assert result.groups == 3


def test_equal_rewards_on_a_large_scale_are_equal_up_to_their_own_residue():
    rewards = [float(np.float32(87.3))] * 7 + [float(np.nextafter(np.float32(87.3), np.float32(100)))]
    assert not group_advantages(rewards, [0] * 8, std="group").active.any()


@settings(max_examples=100, deadline=None)
@given(BATCHES, st.sampled_from(["batch", "group"]), st.floats(0.01, 100.0))
def test_one_reward_alone_is_group_advantages_exactly(batch, std, weight):
    rewards, groups = [reward for reward, _ in batch], [group for _, group in batch]
    alone = combined_advantages({"hp": rewards}, {"hp": weight}, groups, std=std)
    expected = group_advantages(rewards, groups, std=std)
    assert np.array_equal(alone.values, expected.values)
    assert np.array_equal(alone.active, expected.active)
    assert alone.zero_variance_groups == expected.zero_variance_groups
    beside = combined_advantages({"hp": rewards, "watched": [NAN] * len(batch)}, {"hp": weight, "watched": 0.0}, groups)
    assert np.array_equal(beside.values, group_advantages(rewards, groups).values)


@settings(max_examples=100, deadline=None)
@given(BATCHES, BATCHES, st.sampled_from(["batch", "group"]))
def test_what_holds_for_every_batch(first, second, std):
    count = min(len(first), len(second))
    groups = np.array([group for _, group in first[:count]], dtype=int)
    rewards = {name: [r for r, _ in batch[:count]] for name, batch in (("a", first), ("b", second))}
    result = combined_advantages(rewards, {"a": 1.0, "b": 2.0}, groups.tolist(), std=std, max_advantage=1e9)
    assert np.isfinite(result.values).all()
    assert (result.values[~result.active] == 0.0).all()
    assert set(groups[~np.isin(groups, result.zero_variance_groups)]) == set(groups[result.active])
    for group in set(groups.tolist()):
        assert result.values[groups == group].sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("std", ["group", "batch"])
def test_a_hard_reward_does_not_starve(std):
    """Spread 0.9 beside 0.009: summed before they are normalised, the hard one would have a say of 1 %."""
    easy, hard = [0.0, 0.9, 0.0, 0.9], [0.5, 0.5, 0.509, 0.509]
    result = combined_advantages({"easy": easy, "hard": hard}, {"easy": 1.0, "hard": 1.0}, [0] * 4, std=std)
    assert result.values[0] == pytest.approx(-1.0, abs=0.02)
    assert result.values[3] == pytest.approx(1.0, abs=0.02)
    # Good in one and bad in the other is about neutral, whichever it is.
    assert np.abs(result.values[1:3]).max() < 0.02


def test_several_rewards_are_the_weighted_sum_of_each_alone():
    a, b, groups = [0.1, 0.5, 0.7, 0.2], [3.0, 1.0, 2.0, 5.0], [0, 0, 1, 1]
    result = combined_advantages({"a": a, "b": b}, {"a": 3.0, "b": 1.0}, groups)
    expected = 0.75 * group_advantages(a, groups).values + 0.25 * group_advantages(b, groups).values
    assert result.values == pytest.approx(expected, abs=1e-12)


def test_an_outlier_in_the_sum_is_clipped():
    outlier = [0.0] * 99 + [1.0]
    result = combined_advantages({"a": outlier, "b": outlier}, EVEN, [0] * 100, std="group", max_advantage=2.0)
    assert result.values.max() == 2.0


@pytest.mark.parametrize("std", ["group", "batch"])
def test_a_group_is_skipped_only_if_no_reward_has_a_signal(std):
    a = [0.4, 0.4, 0.4, 0.4, 0.1, 0.9]
    b = [0.7, 0.7, 0.2, 0.8, 0.5, 0.5]
    result = combined_advantages({"a": a, "b": b}, EVEN, [0, 0, 1, 1, 2, 2], std=std)
    assert result.zero_variance_groups == (0,)
    assert (result.values[:2] == 0.0).all()
    assert list(result.active) == [False, False, True, True, True, True]
    only_b = group_advantages(b, [0, 0, 1, 1, 2, 2], std=std)
    assert result.values[2:4] == pytest.approx(0.5 * only_b.values[2:4])


def test_rewards_that_cancel_each_other_give_no_signal():
    a = [0.1, 0.3, 0.7]
    result = combined_advantages({"a": a, "b": [1.0 - r for r in a]}, EVEN, [0, 0, 0])
    assert result.zero_variance_groups == (0,)
    assert (result.values == 0.0).all()


@pytest.mark.parametrize("std", ["group", "batch"])
def test_float_residue_in_one_reward_adds_exactly_nothing(std):
    a = [0.1, 0.9, 0.3, 0.5]
    residue = [float(np.float32(0.7))] * 3 + [float(np.nextafter(np.float32(0.7), np.float32(1)))]
    result = combined_advantages({"a": a, "b": residue}, EVEN, [0] * 4, std=std)
    assert np.array_equal(result.values, 0.5 * group_advantages(a, [0] * 4, std=std).values)


def test_an_edit_without_one_of_its_rewards_is_unscorable():
    a, b, groups = [0.1, 0.2, 0.9, 0.4], [3.0, None, 1.0, 2.0], [0, 0, 0, 0]
    result = combined_advantages({"a": a, "b": b}, EVEN, groups)
    assert list(result.active) == [True, False, True, True]
    assert result.values[1] == 0.0
    assert result.unscorable == 1
    assert result.missing == {"a": 0, "b": 1}
    without = combined_advantages({"a": [0.1, 0.9, 0.4], "b": [3.0, 1.0, 2.0]}, EVEN, [0, 0, 0])
    assert np.array_equal(result.values[[0, 2, 3]], without.values)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nan_from_one_of_several_rewards_is_left_out_and_counted_by_name(bad):
    a, b, groups = [0.1, 0.2, 0.9, None], [3.0, bad, 1.0, bad], [0, 0, 0, 0]
    result = combined_advantages({"a": a, "b": b}, EVEN, groups)
    assert list(result.active) == [True, False, True, False]
    assert np.isfinite(result.values).all()
    assert result.unscorable == 2
    assert result.missing == {"a": 1, "b": 0}
    assert result.non_finite == {"a": 0, "b": 2}


def test_a_group_of_which_no_edit_has_all_rewards_gives_no_signal():
    result = combined_advantages({"a": [0.1, None], "b": [None, 0.2]}, EVEN, [0, 0])
    assert not result.active.any()
    assert (result.unscorable, result.zero_variance_groups) == (2, (0,))


def test_an_empty_batch_has_no_groups():
    result = combined_advantages({"a": []}, {"a": 1.0}, [])
    assert (len(result.values), result.groups, result.frac_zero_std) == (0, 0, 0.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0}, "differ"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "differ"),
        ({"a": 1.0, "b": -1.0}, "'b' is not a number"),
        ({"a": NAN, "b": 1.0}, "'a' is not a number"),
        ({"a": 0.0, "b": 0.0}, "no reward"),
    ],
)
def test_weights_that_make_no_sense_are_refused_with_a_hint(weights, message):
    with pytest.raises(HPEditError, match=message) as caught:
        combined_advantages({"a": [0.1, 0.2], "b": [0.1, 0.2]}, weights, [0, 0])
    assert caught.value.hint
