"""Forwards by the plan: the published costs, and what a real run counts."""

import pytest
from tests.rl.redness import RednessScorer

from hpedit.config.recipe import (
    CheckpointSection,
    DPOSection,
    LogSection,
    LoraSection,
    NFTSection,
    Recipe,
    RolloutSection,
    TrainSection,
)
from hpedit.plan import forwards
from hpedit.rl.trainer import train


def make(output="run", rollout=None, train=None, **sections):
    usual = {"steps": 10, "window": 2, "window_start": (0, 7), "group_size": 16, "groups": 4}
    return Recipe(
        output=str(output),
        cases="none",
        scorer="none",
        rollout=RolloutSection(**usual | (rollout or {})),
        train=TrainSection(**{"micro_batch": 16} | (train or {})),
        **sections,
    )


def test_all_steps_with_guidance_cost_92():
    recipe = make(rollout={"window": 9, "window_start": (0, 0), "cfg": 4.0})
    assert forwards.forwards_per_edit(recipe, recomputes=True).all == 92


def test_a_window_of_2_without_guidance_costs_18():
    found = forwards.forwards_per_edit(make(), recomputes=True)
    assert (found.rollout, found.train, found.all) == (10, 8, 18)


def test_edit_r1s_nft_costs_36():
    recipe = make(
        rollout={"steps": 6, "window_start": (0, 0), "group_size": 12},
        train={"algorithm": "nft", "kl": 1e-4, "micro_batch": 12},
        nft=NFTSection(levels=5),
    )
    found = forwards.forwards_per_edit(recipe, recomputes=True)
    assert (found.rollout, found.old, found.reference, found.train) == (6, 5, 5, 20)
    assert found.all == 36


def test_a_shared_prefix_costs_15_2():
    recipe = make(rollout={"window_start": (3, 3), "shared_noise": True})
    assert forwards.forwards_per_edit(recipe, recomputes=True).all == pytest.approx(3 / 16 + 7 + 8)
    assert round(forwards.forwards_per_edit(recipe, recomputes=True).all, 1) == 15.2


def test_processes_share_the_work_and_dynamic_sampling_bounds_the_rollout():
    recipe = make(rollout={"dynamic_sampling": 2, "groups": 6})
    one = forwards.iteration_forwards(recipe, recomputes=True)
    assert forwards.iteration_forwards(recipe, recomputes=True, processes=4) == one
    most = one.with_refills(2)
    assert most.rollout == 3 * one.rollout
    assert most.train == one.train


def test_a_micro_batch_that_does_not_divide_a_group_costs_more():
    even = forwards.iteration_forwards(make(), recomputes=True)
    odd = forwards.iteration_forwards(make(train={"micro_batch": 15}), recomputes=True)
    assert odd.all > even.all


SMALL = {"steps": 3, "window": 1, "window_start": (1, 1), "group_size": 4, "groups": 2}
RUNS = {
    "flow_grpo": ({}, {}),
    "flow_grpo, shared, filled up": ({"shared_noise": True}, {"micro_batch": 3}),
    "flow_grpo, kl, two updates": ({}, {"kl": 0.01, "inner_updates": 2}),
    "flow_grpo, waves of several groups": ({"groups": 3, "window": 2, "window_start": (0, 0)}, {"micro_batch": 8}),
    "grpo_guard": ({}, {"algorithm": "grpo_guard"}),
    "nft": ({}, {"algorithm": "nft"}),
    "nft, kl": ({}, {"algorithm": "nft", "kl": 1e-4, "micro_batch": 3}),
    "online_dpo": ({}, {"algorithm": "online_dpo"}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_real_run_counts_the_same(name, tmp_path, tiny_editor, training_cases):
    rollout, training = RUNS[name]
    recipe = make(
        tmp_path / "run",
        SMALL | rollout,
        {"iterations": 1, "micro_batch": 4} | training,
        lora=LoraSection(rank=2, alpha=2.0),
        log=LogSection(tensorboard=False, grid_every=0),
        checkpoint=CheckpointSection(every=1),
    )
    (record,) = train(recipe, editor=tiny_editor, cases=training_cases, scorer=RednessScorer()).metrics
    assert record["groups_skipped"] == 0, "the count is of groups with signal"
    assert forwards.iteration_forwards(recipe, recomputes=False).all == record["forwards"]


def test_a_real_run_from_pairs_counts_the_same(tmp_path, tiny_editor, preference_pairs):
    recipe = make(
        tmp_path / "run",
        SMALL,
        {"iterations": 1, "micro_batch": 4, "algorithm": "offline_dpo"},
        lora=LoraSection(rank=2, alpha=2.0),
        log=LogSection(tensorboard=False, grid_every=0),
        dpo=DPOSection(pairs=str(preference_pairs(3))),
    )
    (record,) = train(recipe, editor=tiny_editor).metrics
    assert forwards.iteration_forwards(recipe, recomputes=False).all == record["forwards"]
    assert forwards.units_per_iteration(recipe) == 2


def test_every_algorithm_of_the_recipe_is_counted():
    from hpedit.rl.algorithms import ALGORITHMS

    assert set(forwards.ALGORITHMS) == {*ALGORITHMS, "offline_dpo"}
    for name, kind in ALGORITHMS.items():
        assert forwards.ALGORITHMS[name].stochastic == kind.stochastic
        assert forwards.ALGORITHMS[name].keeps_means == kind.keep_means
