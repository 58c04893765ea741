"""Held-out evaluation: fair, exact to resume, and without a trace in what is learnt."""

import json
import logging

import numpy as np
import pytest
import torch
from tests.rl.redness import RednessScorer

from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.records import Score
from hpedit.rl.monitor.evaluations import read_evaluations
from hpedit.rl.monitor.held_out_cases import split_cases
from hpedit.rl.trainer import train
from hpedit.seeds import derive_seed
from hpedit.store.atomic import read_jsonl


class Bluish:
    """A second judge that the redness reward does not please."""

    fingerprint = "blueness"

    def score(self, cases, images, edit_ids=None):  # noqa: ARG002
        means = [np.asarray(image, dtype=float).mean((0, 1)) / 255 for image in images]
        values = [float(np.clip(2.5 + 5 * (blue - red), 0, 5)) for red, _, blue in means]
        return [Score(name, "blue", value) for name, value in zip(edit_ids, values, strict=True)]


@pytest.fixture
def held_out(make_case):
    return [make_case(f"held-{i}", "make it red", seed=1000 + 10 * i) for i in range(12)]


@pytest.fixture
def start(make_recipe, tiny_editor, training_cases):
    def run(recipe=None, scorer=None, second=None, held=None, editor=tiny_editor, cases=training_cases, **changes):
        return train(
            recipe or make_recipe(**changes), editor=editor, cases=cases, scorer=scorer or RednessScorer(),
            held_out=held, second_judge=second,
        )  # fmt: skip

    return run


def weights(result):
    return (result.lora / WEIGHTS_NAME).read_bytes()


def test_the_same_weights_with_and_without_looking(start, make_recipe, held_out, tmp_path):
    blind = start(make_recipe(tmp_path / "a", train={"iterations": 3}))
    seeing = start(
        make_recipe(tmp_path / "b", train={"iterations": 3}, evaluate={"every": 1}), held=held_out, second=Bluish()
    )
    assert weights(blind) == weights(seeing)
    assert all("held_out_scorer_gain" in record for record in seeing.metrics)


def test_a_look_leaves_the_callers_random_state(start, held_out):
    class RolloutSeed(RednessScorer):
        def score(self, cases, images, edit_ids=None):
            torch.rand(3)
            return super().score(cases, images, edit_ids)

    torch.manual_seed(5)
    before = torch.get_rng_state()
    start(evaluate={"every": 1}, held=held_out, scorer=RolloutSeed())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_measured_is_what_is_exported(start, held_out, tiny_editor):
    result = start(evaluate={"every": 2, "steps": 2}, train={"learning_rate": 2e-2}, held=held_out)
    last = result.metrics[-1]
    seeds = [derive_seed(0, "held out noise", case.id) for case in held_out]
    images = edit_cases(tiny_editor, held_out, seeds, 2, batch_size=8)
    scores = RednessScorer().score(held_out, images, [case.id for case in held_out])
    assert last["held_out_scorer"] == pytest.approx(np.mean([score.value for score in scores]), abs=1e-6)
    assert last["held_out_n"] == 12
    assert last["held_out_scorer_gain_low"] <= last["held_out_scorer_gain"] <= last["held_out_scorer_gain_high"]


def test_a_killed_run_looks_the_same_and_does_not_edit_by_the_base_again(start, make_recipe, held_out, tmp_path):
    recipe = {"train": {"iterations": 4}, "evaluate": {"every": 1, "patience": 3}, "checkpoint": {"every": 2}}
    whole = start(make_recipe(tmp_path / "a", **recipe), held=held_out, second=Bluish())

    class Killed(BaseException):
        pass

    class Dies(RednessScorer):
        def score(self, cases, images, edit_ids=None):
            if edit_ids[0].startswith("held-out-000004"):
                raise Killed
            return super().score(cases, images, edit_ids)

    with pytest.raises(Killed):
        start(make_recipe(tmp_path / "b", **recipe), held=held_out, second=Bluish(), scorer=Dies())
    assert [evaluation.step for evaluation in read_evaluations(tmp_path / "b").evaluations] == [1, 2, 3]

    class NeverBase(RednessScorer):
        def score(self, cases, images, edit_ids=None):
            assert not edit_ids[0].startswith("held-out-000000"), "the base's edits are on the disk"
            return super().score(cases, images, edit_ids)

    resumed = start(make_recipe(tmp_path / "b", **recipe), held=held_out, second=Bluish(), scorer=NeverBase())
    assert weights(resumed) == weights(whole)
    for name in ("held_out/looks.jsonl", "held_out/base.json", "result.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    kept = [sorted(file.name for file in (tmp_path / run / "best").iterdir()) for run in "ab"]
    assert kept[0][-1] == kept[1][-1]


def test_a_share_is_held_out_by_source_and_said(start, make_case, make_recipe):
    cases = [make_case(f"case-{i}", f"make it red, way {i}", seed=10 * (i // 2)) for i in range(12)]
    result = start(cases=cases, evaluate={"every": 2, "share": 0.2})
    table = read_evaluations(result.folder)
    looked = {case["source_id"] for case in table.cases}
    split = split_cases(cases, None, make_recipe(evaluate={"every": 2, "share": 0.2}))
    assert looked
    assert not looked & {case.source_id for case in split.training}
    assert len(split.training) + 2 * len(looked) == 12
    assert "2 of 12 cases on 6 photographs held out of training" in (result.folder / "log.txt").read_text()


def test_too_few_cases_to_hold_some_back_is_said_and_no_error(start, caplog):
    with caplog.at_level(logging.WARNING):
        result = start(evaluate={"every": 1}, rollout={"groups": 4})
    assert "no held-out evaluation: 4 cases on 4 photographs are too few" in caplog.text
    assert "held_out_scorer" not in result.metrics[0]


def test_a_source_on_both_sides_is_refused(start, make_case):
    same_photo = [make_case("other-words", "make it blue", seed=10)]
    with pytest.raises(HPEditError, match="1 of 1 held-out cases are on photographs that are trained on"):
        start(evaluate={"every": 1}, held=same_photo)


def test_a_second_judge_that_is_the_reward_is_refused(start, held_out):
    with pytest.raises(HPEditError, match="is the reward scorer itself"):
        start(evaluate={"every": 1}, held=held_out, second=RednessScorer())


def test_other_held_out_cases_in_the_same_folder_are_refused(start, held_out):
    start(evaluate={"every": 1}, held=held_out)
    with pytest.raises(HPEditError, match="held-out cases has other content"):
        start(evaluate={"every": 1}, held=held_out[:3])


def test_an_unscorable_held_out_edit_is_left_out_and_counted(start, held_out):
    class Silent(RednessScorer):
        def score(self, cases, images, edit_ids=None):
            if not edit_ids[0].startswith("held-out"):
                return super().score(cases, images, edit_ids)
            self.answer = lambda number, value: None if number == 1 else value
            return super().score(cases, images, edit_ids)

    record = start(evaluate={"every": 2}, held=held_out, scorer=Silent()).metrics[-1]
    assert record["held_out_scorer_unscorable"] == 1
    assert record["held_out_scorer_gain"] is not None


def test_a_run_stops_when_the_second_judge_sees_no_better_and_exports_the_best(start, held_out, caplog):
    """Redness is learnt, the second judge loves blue: the first look is the best one."""
    with caplog.at_level(logging.WARNING):
        result = start(
            train={"iterations": 40, "learning_rate": 2e-2, "micro_batch": 24, "ema": 0.0},
            rollout={"group_size": 12},
            evaluate={"every": 2, "patience": 3, "export": "best"},
            held=held_out,
            second=Bluish(),
        )
    facts = json.loads((result.folder / "result.json").read_text())
    assert result.iterations == facts["iterations"] < 40
    assert facts["exported"] == facts["best"] == result.iterations - 6
    assert "no better held-out second" in facts["stopped"]
    assert result.metrics[-1]["step"] == result.iterations
    kinds = {line["kind"] for line in read_jsonl(result.folder / "alarms.jsonl")}
    assert "second" in kinds
    assert caplog.text.count("the second judge fell") <= 2, "said when it begins, not at every look"
    again = start(
        train={"iterations": 40, "learning_rate": 2e-2, "micro_batch": 24, "ema": 0.0},
        rollout={"group_size": 12},
        evaluate={"every": 2, "patience": 3, "export": "best"},
        held=held_out,
        second=Bluish(),
    )
    assert again == result


def test_the_best_weights_stand_beside_the_last(start, held_out, tiny_editor):
    result = start(
        train={"iterations": 12, "learning_rate": 2e-2, "micro_batch": 24, "ema": 0.0},
        rollout={"group_size": 12},
        evaluate={"every": 3},
        held=held_out,
        second=Bluish(),
    )
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts["exported"] == 12
    assert facts["best"] < 12
    files = [path.name for path in (result.folder / "best").iterdir()]
    assert f"step_{facts['best']:06d}.safetensors" in files
    assert len(files) <= 2
    tiny_editor.load_lora(result.folder / "lora_best")
