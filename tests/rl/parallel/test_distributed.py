"""Several processes against one: the same run for the same global batch. Real processes, gloo."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import picture
from tests.rl import several

from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.records import Case
from hpedit.rl.monitor.group_log import read_group_log
from hpedit.store.tables import write_cases

ALGORITHMS = {"flow_grpo": {"kl": 0.1, "inner_updates": 2}, "nft": {}, "offline_dpo": {}}


@pytest.fixture
def outcome(start_several, tmp_path, make_recipe):
    """Metrics and LoRA of a run; with several processes, after having looked that all ended well."""

    def run(name, size, **changes):
        train = {"iterations": 2, "micro_batch": 8, "learning_rate": 1e-3} | changes.pop("train", {})
        rollout = {"groups": 4} | changes.pop("rollout", {})
        recipe = make_recipe(tmp_path / name, train=train, rollout=rollout, **changes)
        if size == 1:
            several.train_here(recipe.resolved(), {}, tmp_path)
        else:
            ran = start_several(recipe, size)
            assert ran.codes() == [0] * size, "".join(ran.stderr(rank) for rank in range(size))
        metrics = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return metrics, load_file(tmp_path / name / "lora" / WEIGHTS_NAME)

    return run


def assert_same(found, expected):
    """Loss, gradient and reward to 1e-5 of their size, and the weights after two iterations of Adam."""
    for one, other in zip(found[0], expected[0], strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5, abs=1e-7)
        assert {k: one[k] for k in ("forwards", "optimizer_steps")} == {
            k: other[k] for k in ("forwards", "optimizer_steps")
        }
        assert one.get("reward_mean") == pytest.approx(other.get("reward_mean"), abs=1e-5)
    assert found[0][0]["grad_norm"] == pytest.approx(expected[0][0]["grad_norm"], rel=1e-5)
    largest = max(float(tensor.abs().max()) for tensor in expected[1].values())
    for name, tensor in expected[1].items():
        assert float((found[1][name] - tensor).abs().max()) < 1e-3 * largest, name


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_processes_are_one_for_the_same_global_batch(outcome, tmp_path, algorithm):
    changes = {"train": {"algorithm": algorithm, **ALGORITHMS[algorithm]}}
    if algorithm == "offline_dpo":
        changes["dpo"] = {"pairs": str(several.write_pairs(tmp_path))}
    expected = outcome("one", 1, **changes)
    assert_same(outcome("two", 2, **changes), expected)


@pytest.mark.slow
def test_two_processes_look_at_held_out_cases_and_record_groups_as_one_does(outcome, tmp_path):
    held_out = [Case(f"held-{i}", "color", "make it red", (picture(seed=900 + i),), f"away-{i}") for i in range(3)]
    write_cases(tmp_path / "held.parquet", held_out)
    changes = {
        "train": {"algorithm": "flow_grpo", "learning_rate": 2e-2, "ema": 0.0, "iterations": 4},
        "evaluate": {"every": 2, "cases": str(tmp_path / "held.parquet")},
        "log": {"groups_every": 1},
    }
    expected, found = outcome("one", 1, **changes)[0], outcome("two", 2, **changes)[0]
    looks = [record for record in found if "held_out_n" in record]
    assert [look["step"] for look in looks] == [2, 4]
    first = next(record for record in expected if "held_out_n" in record)
    for key in ("held_out_scorer", "held_out_scorer_gain", "held_out_saturation"):
        assert looks[0][key] == pytest.approx(first[key], abs=0.02)
    both = [read_group_log(tmp_path / name / "groups" / "iteration_000001.parquet") for name in ("one", "two")]
    one, two = ([row for rows in groups for row in rows] for groups in both)
    assert [(row.id, row.case_id, row.sources) for row in one] == [(row.id, row.case_id, row.sources) for row in two]
    assert [row.advantage for row in two] == pytest.approx([row.advantage for row in one], abs=1e-2)


@pytest.mark.slow
def test_fsdp2_is_replicated_though_the_processes_do_unequal_work(outcome):
    """Three groups for two processes; one trains while the other samples; only rank 0 draws grids."""
    changes = {
        "train": {"algorithm": "flow_grpo", "kl": 0.1, "advantage_std": "group", "inner_updates": 2, "micro_batch": 4},
        "rollout": {"groups": 3, "dynamic_sampling": 1},
        "log": {"grid_every": 1},
    }
    expected = outcome("one", 1, **changes)
    assert_same(outcome("replicated", 2, **changes), expected)
    assert_same(outcome("sharded", 2, **changes, scale={"shard": "fsdp2"}), expected)


@pytest.mark.slow
def test_two_processes_that_were_killed_end_like_two_that_were_not(start_several, make_recipe, tmp_path):
    def of(name):
        return make_recipe(tmp_path / name, train={"iterations": 3, "algorithm": "nft"}, scale={"shard": "fsdp2"})

    assert start_several(of("whole")).codes() == [0, 0]
    assert 0 not in start_several(of("killed"), faults={("score", 1, 3): "kill"}).codes()
    assert start_several(of("killed")).codes() == [0, 0]
    whole, killed = (load_file(tmp_path / name / "lora" / WEIGHTS_NAME) for name in ("whole", "killed"))
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())
