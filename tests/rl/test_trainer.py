"""Training runs on a real pipeline with a real, pixel-measuring scorer."""

import json
import logging

import numpy as np
import pytest
import torch

from hpedit.config.recipe import EditorSection
from hpedit.editors.load import wrap_pipeline
from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.mini.architecture import build_pipeline
from hpedit.rl.trainer import train
from hpedit.store.checkpoint import load_latest
from hpedit.store.tables import write_cases


@pytest.fixture
def start(make_recipe, tiny_editor, training_cases, redness_scorer):
    """Train with everything passed in."""

    def run(recipe=None, scorer=None, cases=training_cases, editor=tiny_editor, **changes):
        return train(recipe or make_recipe(**changes), editor=editor, cases=cases, scorer=scorer or redness_scorer())

    return run


def weights(result):
    return (result.lora / WEIGHTS_NAME).read_bytes()


def test_a_run_leaves_metrics_grids_checkpoints_and_a_lora(start, tiny_editor, training_cases):
    result = start(log={"tensorboard": True, "grid_every": 1})
    assert [record["step"] for record in result.metrics] == [1, 2]
    expected = {"reward_mean", "score_mean", "score_std", "unscorable", "frac_zero_std", "ratio_mean"}
    expected |= {"ratio_deviation", "clip_fraction", "grad_norm", "loss", "forwards"}
    expected |= {"seconds_rollout", "seconds_score", "seconds_train"}
    assert expected <= result.metrics[0].keys()
    grids = [path.name for path in sorted((result.folder / "grids").iterdir())]
    assert grids == ["iteration_000001.png", "iteration_000002.png"]
    assert list((result.folder / "tensorboard").iterdir())
    assert load_latest(result.folder / "checkpoints").step == 2
    trained = np.asarray(edit_cases(tiny_editor, training_cases[:1], [1], 2)[0])
    fresh = wrap_pipeline(build_pipeline(0), tiny_editor.areas, fingerprint="tiny")
    base = np.asarray(edit_cases(fresh, training_cases[:1], [1], 2)[0])
    fresh.load_lora(result.lora)
    assert (np.asarray(edit_cases(fresh, training_cases[:1], [1], 2)[0]) == trained).all()
    assert (trained != base).any()


def test_a_finished_run_returns_its_result_at_once(start, redness_scorer, tiny_editor):
    first = start()
    name = tiny_editor.fingerprint
    scorer = redness_scorer()
    again = start(scorer=scorer)
    assert scorer.calls == 0
    assert again == first
    assert tiny_editor.fingerprint == name


def test_editor_and_cases_come_from_the_recipes_paths(
    make_recipe, tiny_editor, training_cases, redness_scorer, tmp_path
):
    tiny_editor.pipeline.save_pretrained(tmp_path / "model")
    areas = {"resolution": 32, "condition_area": 1024, "source_area": 1024}
    (tmp_path / "model" / "hpedit.json").write_text(json.dumps(areas))
    (tmp_path / "cases").mkdir()
    write_cases(tmp_path / "cases" / "cases.parquet", training_cases)
    recipe = make_recipe().model_copy(
        update={"cases": str(tmp_path / "cases"), "editor": EditorSection(model=str(tmp_path / "model"), device="cpu")}
    )
    from_paths = train(recipe, scorer=redness_scorer())
    passed_in = train(make_recipe(tmp_path / "b"), editor=tiny_editor, cases=training_cases, scorer=redness_scorer())
    assert weights(from_paths) == weights(passed_in)
    assert len(list((from_paths.folder / "conditioning").rglob("*.safetensors"))) == len(training_cases)
    assert train(recipe, scorer=redness_scorer()) == from_paths
    with pytest.raises(HPEditError, match="does not exist"):
        train(make_recipe(tmp_path / "c"), scorer=redness_scorer(), editor=tiny_editor)


def test_another_recipe_or_other_cases_in_the_same_folder_are_refused(start, training_cases):
    start()
    with pytest.raises(HPEditError, match=r"train\.learning_rate was"):
        start(train={"learning_rate": 1e-3})
    with pytest.raises(HPEditError, match="cases has other content"):
        start(cases=training_cases[:3])


def test_the_same_seed_twice_gives_the_same_weights_whatever_the_global_rng_is(start, make_recipe, tmp_path):
    first = start(make_recipe(tmp_path / "a"))
    torch.manual_seed(1234)
    state = torch.get_rng_state()
    second = start(make_recipe(tmp_path / "b"))
    assert weights(first) == weights(second)
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator is left as it was"


def test_a_constant_scorer_changes_no_weight(start, redness_scorer, tiny_editor):
    result = start(scorer=redness_scorer(lambda _number, _value: 3.0))
    assert all(record["optimizer_steps"] == 0 for record in result.metrics)
    assert all(record["frac_zero_std"] == 1.0 for record in result.metrics)
    assert all((p == 0).all() for name, p in tiny_editor.lora_parameters().items() if "lora_B" in name)


def test_unscorable_edits_are_left_out_and_counted(start, redness_scorer):
    result = start(scorer=redness_scorer(lambda number, value: None if number in (1, 4, 5, 6) else value))
    assert [record["unscorable"] for record in result.metrics] == [4, 4]
    # Of the second group one edit is left, which has nothing to be compared with.
    assert [record["groups_skipped"] for record in result.metrics] == [1, 1]
    assert all(record["optimizer_steps"] == 1 for record in result.metrics)


def test_a_scorer_that_answers_nothing_stops_the_run_with_its_reason(start, redness_scorer):
    with pytest.raises(HPEditError, match="8 of 8 edits are unscorable: no answer"):
        start(scorer=redness_scorer(lambda _number, _value: None))


def test_too_few_different_cases_are_refused(start, make_case):
    with pytest.raises(HPEditError, match="1 different training cases are too few for 2 groups"):
        start(cases=[make_case("a"), make_case("same source and words")])


def test_guidance_trains_and_is_paid_for(start, make_recipe, tiny_editor, tmp_path):
    plain = start(train={"iterations": 1}).metrics[0]
    guided = wrap_pipeline(tiny_editor.pipeline, tiny_editor.areas, fingerprint="tiny", cfg=3.0)
    recipe = make_recipe(tmp_path / "guided", train={"iterations": 1}, rollout={"cfg": 3.0})
    record = start(recipe, editor=guided).metrics[0]
    assert record["forwards"] == 2 * plain["forwards"]
    assert record["ratio_deviation"] < 1e-6
    assert record["score_mean"] != plain["score_mean"]


def test_encoders_leave_before_the_first_iteration_and_nothing_changes(start, make_recipe, tiny_editor, tmp_path):
    gone = []
    offload, collected = tiny_editor.offload_encoders, start(make_recipe(tmp_path / "a"))
    tiny_editor.offload_encoders = lambda: (gone.append(True), offload())
    recipe = make_recipe(tmp_path / "b")
    recipe = recipe.model_copy(update={"editor": EditorSection(offload_encoders="on")})
    assert weights(start(recipe)) == weights(collected)
    assert gone == [True] * 2, "once an iteration, which costs nothing where they are away"


def test_comfyuis_names_are_written_where_they_are_wanted(start):
    result = start(lora={"comfyui": True})
    assert (result.lora / "comfyui" / "lora.safetensors").is_file()


def test_a_target_that_matches_nothing_is_refused(start):
    with pytest.raises(HPEditError, match=r"lora\.targets match no linear layer: to_qkv"):
        start(lora={"targets": ("to_q", "to_qkv")})


def test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_end(
    start, make_recipe, redness_scorer, tmp_path, caplog
):
    whole = start(make_recipe(tmp_path / "a", train={"iterations": 3}))

    class Killed(BaseException):
        pass

    class Dies(redness_scorer):
        def score(self, *args):
            if self.calls == 2:
                raise Killed
            return super().score(*args)

    recipe = make_recipe(tmp_path / "b", train={"iterations": 3})
    with pytest.raises(Killed):
        start(recipe, scorer=Dies())
    newest = load_latest(tmp_path / "b" / "checkpoints")
    assert newest.step == 2
    damaged = newest.path / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        resumed = start(recipe)
    assert str(damaged) in caplog.text
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize("algorithm", ["flow_grpo", "nft"])
def test_a_prolonged_run_ends_in_the_weights_of_one_that_was_as_long_from_the_beginning(
    start, make_recipe, tmp_path, algorithm
):
    def recipe(name, iterations):
        return make_recipe(
            tmp_path / name,
            train={"iterations": iterations, "algorithm": algorithm},
            checkpoint={"every": 2},
            evaluate={"every": 2, "count": 2, "share": 0.3},
            log={"grid_every": 2},
        )

    whole = start(recipe("a", 4))
    short = start(recipe("b", 1))
    assert weights(short) != weights(whole)
    longer = start(recipe("b", 4))
    assert weights(longer) == weights(whole)
    assert longer.iterations == 4
    assert [record["loss"] for record in longer.metrics] == [record["loss"] for record in whole.metrics]
    there = json.loads((longer.folder / "recipe.json").read_text())
    assert there["recipe"]["train"]["iterations"] == 4
    with pytest.raises(HPEditError, match=r"4 iterations behind it, train\.iterations is 3"):
        start(recipe("b", 3))
    assert start(recipe("b", 4)) == longer, "refusing has changed nothing"


def test_an_unfinished_run_is_not_shortened_below_what_it_has(start, make_recipe, redness_scorer):
    class Killed(BaseException):
        pass

    class Dies(redness_scorer):
        def score(self, *args):
            if self.calls == 2:
                raise Killed
            return super().score(*args)

    with pytest.raises(Killed):
        start(make_recipe(train={"iterations": 5}), scorer=Dies())
    with pytest.raises(HPEditError, match=r"2 iterations behind it, train\.iterations is 1"):
        start(make_recipe(train={"iterations": 1}))
    assert start(make_recipe(train={"iterations": 3})).iterations == 3


def test_a_run_and_its_cases_may_be_moved_but_not_changed(
    make_recipe, tiny_editor, training_cases, redness_scorer, tmp_path
):
    def at(name):
        return make_recipe(tmp_path / name / "run").model_copy(update={"cases": str(tmp_path / name / "cases.parquet")})

    def go_on(name):
        return train(at(name), editor=tiny_editor, scorer=redness_scorer())

    (tmp_path / "a").mkdir()
    write_cases(tmp_path / "a" / "cases.parquet", training_cases)
    first = weights(go_on("a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert weights(go_on("b")) == first
    write_cases(tmp_path / "b" / "cases.parquet", training_cases[:3])
    with pytest.raises(HPEditError, match="cases has other content"):
        go_on("b")


def test_the_reward_goes_up(start, tiny_editor, training_cases, redness_scorer):
    def mean_score():
        edits = edit_cases(tiny_editor, training_cases * 2, range(8), 3)
        scores = redness_scorer().score(training_cases * 2, edits, [str(i) for i in range(8)])
        return np.mean([score.value for score in scores])

    before = mean_score()
    start(
        train={"iterations": 22, "learning_rate": 2e-2, "micro_batch": 24},
        rollout={"group_size": 12},
        checkpoint={"every": 100},
    )
    after = mean_score()
    with tiny_editor.lora_disabled():
        assert mean_score() == before
    assert after > before + 0.2, (before, after)
