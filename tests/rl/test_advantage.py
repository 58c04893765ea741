"""Advantages: groups, what is left out, and that nothing explodes."""

import numpy as np
import pytest

from hpedit.rl.advantage import group_advantages, reward_from_score


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
def test_T1_equal_rewards_give_exactly_zero_and_the_group_is_skipped(std):
    result = group_advantages([0.4] * 4 + [0.1, 0.9], [0] * 4 + [1] * 2, std=std)
    assert (result.values[:4] == 0.0).all()
    assert not result.active[:4].any()
    assert result.active[4:].all()
    assert result.zero_std_groups == 1
    assert result.frac_zero_std == 0.5


@pytest.mark.parametrize("std", ["group", "batch"])
def test_T2_float_residue_gives_no_advantage(std):
    rewards = [float(np.float32(0.7))] * 7 + [float(np.nextafter(np.float32(0.7), np.float32(1)))]
    result = group_advantages(rewards, [0] * 8, std=std)
    assert (result.values == 0.0).all()
    assert result.zero_std_groups == 1


def test_T2_a_tiny_spread_is_held_down_by_the_floor():
    result = group_advantages([0.5] * 7 + [0.50001], [0] * 8, std="group")
    assert np.abs(result.values).max() < 0.1


def test_T2_an_outlier_is_clipped():
    assert group_advantages([0.0] * 99 + [1.0], [0] * 100, std="group").values.max() == 5.0


def test_T3_none_is_left_out_of_the_group_and_counted():
    with_none = group_advantages([0.1, None, 0.9], [0, 0, 0], std="group")
    without = group_advantages([0.1, 0.9], [0, 0], std="group")
    assert with_none.unscorable == 1
    assert list(with_none.active) == [True, False, True]
    assert with_none.values[[0, 2]] == pytest.approx(without.values)


def test_T3_a_group_of_none_or_of_one_survivor_gives_no_signal():
    result = group_advantages([None, None, 0.9, None], [0, 0, 1, 1])
    assert not result.active.any()
    assert (result.values == 0.0).all()
    assert (result.unscorable, result.zero_std_groups) == (3, 2)


def test_T3_nan_is_not_a_reward():
    with pytest.raises(AssertionError, match="finite or None"):
        group_advantages([0.1, float("nan")], [0, 0])
