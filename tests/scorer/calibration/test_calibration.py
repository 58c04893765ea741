"""Calibration: what it promises for good judges, and what it says of bad ones and of bad ratings."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.base_selection import folds, source_hash
from hpedit.scorer.calibration.calibration import Calibration
from hpedit.scorer.calibration.fit import MIN_EDITS, fit_judges
from hpedit.scorer.calibration.judge_table import JudgeAnswers
from hpedit.scorer.evaluation.measure_tables import seen_edits
from hpedit.stats.bootstrap import FloatArray

NAMES = ("expected", "spread")


@dataclass
class World:
    """Edits of which the truth is known, rated by people and scored by a judge with a bias a task."""

    features: FloatArray
    tasks: list[str]
    ratings: FloatArray
    sources: list[str]

    def fit(self, names: tuple[str, ...] = NAMES) -> Calibration:
        answers = JudgeAnswers("judge", names, self.features[:, : len(names)])
        return fit_judges([answers], self.tasks, self.ratings, self.sources)


def make_world(seed: int = 0, tasks: int = 4, each: int = 40, skill: float = 1.0, bias: float = 1.0) -> World:
    rng, biases = np.random.default_rng(seed), np.random.default_rng(99).normal(0, bias, tasks)
    task = np.repeat(np.arange(tasks), each)
    truth = rng.uniform(0, 5, tasks * each)
    answer = np.clip(2.5 + skill * 0.7 * (truth - 2.5) + biases[task] + rng.normal(0, 0.5, len(truth)), 0, 5)
    ratings = np.clip(np.round(truth[:, None] + rng.normal(0, 0.5, (len(truth), 3))), 0, 5).mean(axis=1)
    features = np.column_stack([answer, rng.uniform(0, 1, len(truth))])
    return World(
        features, [f"task{number}" for number in task], ratings, [f"{seed}-{row // 3}" for row in range(len(truth))]
    )


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return make_world(tasks=8, each=50).fit()


def test_biases_of_single_tasks_are_learnt_from_50_edits_each(fitted: Calibration) -> None:
    fresh = make_world(seed=1, tasks=8, each=50)
    mean, _ = fitted.predict(fresh.features, fresh.tasks)
    raw = np.corrcoef(fresh.features[:, 0], fresh.ratings)[0, 1]
    assert np.corrcoef(mean, fresh.ratings)[0, 1] > raw + 0.1
    assert fitted.verdict == "ok"


def test_the_deviation_is_that_of_the_errors_on_fresh_edits(fitted: Calibration) -> None:
    fresh = make_world(seed=2, tasks=8, each=50)
    mean, std = fitted.predict(fresh.features, fresh.tasks)
    assert np.sqrt(np.mean(((fresh.ratings - mean) / std) ** 2)) == pytest.approx(1.0, abs=0.15)


def test_a_better_answer_never_lowers_a_score_and_scores_stay_on_the_scale(fitted: Calibration) -> None:
    for task in ("task0", "task5", "unknown"):
        rows = np.column_stack([np.linspace(0, 5, 30), np.full(30, 0.5)])
        mean, std = fitted.predict(rows, [task] * 30)
        assert (np.diff(mean) > 0).all()
        assert 0 <= mean.min() <= mean.max() <= 5
        assert (std > 0).all()


def test_a_missing_answer_is_expected_from_the_others_and_widens_the_deviation() -> None:
    world = make_world()
    truth = world.features[:, 0]
    world.features[:, 1] = truth + np.random.default_rng(1).normal(0, 0.7, len(truth))
    names = ("expected", "other")
    calibration = world.fit(names)
    full, std = calibration.predict(world.features, world.tasks)
    holed = world.features.copy()
    holed[:, 0] = np.nan
    mean, wider = calibration.predict(holed, world.tasks)
    assert np.corrcoef(mean, full)[0, 1] > 0.7
    assert (wider > std).mean() > 0.95


def test_an_edit_without_answers_is_unscorable_never_zero(fitted: Calibration) -> None:
    mean, std = fitted.predict(np.array([[np.nan, np.nan], [2.0, 0.5]]), ["task0", "task0"])
    assert np.isnan([mean[0], std[0]]).all()
    assert not np.isnan([mean[1], std[1]]).any()


def test_edits_without_answers_are_left_out_of_the_fit() -> None:
    world = make_world()
    world.features[::3] = np.nan
    assert world.fit().n == 160 - 54


def test_a_constant_judge_is_no_signal() -> None:
    world = make_world()
    world.features[:] = (5.0, 0.0)
    calibration = world.fit()
    assert calibration.verdict == "no signal"
    assert calibration.reason == "the judge gives every edit the same answers"


def test_a_judge_without_answers_is_refused() -> None:
    world = make_world()
    world.features[:] = np.nan
    with pytest.raises(HPEditError, match="judge judge has readable answers for 0 of 160 rated edits"):
        world.fit()


def test_an_answer_that_is_known_for_one_photo_alone_does_not_break_the_fit() -> None:
    world = make_world(tasks=1, each=60, bias=0)
    world.sources[:36] = ["one"] * 36
    world.features[36:, 1] = np.nan
    calibration = world.fit()
    assert calibration.verdict == "ok"
    assert calibration.parts[0].used == (0, 1)


def test_a_judge_that_answered_about_few_photos_is_refused_by_name() -> None:
    world = make_world(tasks=1, each=60, bias=0)
    world.sources[:36] = ["one"] * 36
    other = world.features.copy()
    other[36:] = np.nan
    with pytest.raises(HPEditError, match="judge two has readable answers about 1 of 9 photos: too few"):
        fit_judges(judges_of(world, ("two", other)), world.tasks, world.ratings, world.sources)


def test_a_saturated_judge_is_no_signal() -> None:
    world = make_world(bias=0)
    world.features[:] = (5.0, 0.0)
    world.features[[7, 100]] = (4.0, 0.3)
    assert world.fit().verdict == "no signal"


@pytest.mark.parametrize("skill", [0.0, -1.0], ids=["blind", "opposed"])
def test_a_judge_that_does_not_see_what_people_see_is_no_signal(skill: float) -> None:
    calibration = make_world(skill=skill, bias=0.3).fit()
    assert calibration.verdict == "no signal"
    assert calibration.reason


def test_knowing_the_tasks_averages_is_no_signal() -> None:
    world = make_world(skill=0)
    level = np.repeat(np.arange(4), 40) * 1.2
    world.ratings = np.clip(world.ratings * 0.2 + level, 0, 5)
    world.features[:, 0] = level
    assert world.fit().verdict == "no signal"


@pytest.mark.parametrize("n", [0, 1, MIN_EDITS - 1])
def test_too_few_ratings_are_refused_with_the_number_needed(n: int) -> None:
    world = make_world()
    answers = JudgeAnswers("judge", NAMES, world.features[:n])
    with pytest.raises(HPEditError, match="too few to calibrate") as caught:
        fit_judges([answers], world.tasks[:n], world.ratings[:n], world.sources[:n])
    assert str(MIN_EDITS) in caught.value.hint


def test_many_edits_of_too_few_photos_are_refused() -> None:
    world = make_world()
    world.sources = [str(row % 4) for row in range(160)]
    with pytest.raises(HPEditError, match="of 4 photos are too few"):
        world.fit()


def test_ratings_that_are_all_equal_are_refused() -> None:
    world = make_world()
    world.ratings[:] = 3.0
    with pytest.raises(HPEditError, match="all 160 edits are rated 3"):
        world.fit()


def test_contradictory_ratings_are_no_signal() -> None:
    world = make_world(bias=0)
    world.features = world.features.repeat(2, axis=0)
    world.tasks, world.sources = [t for t in world.tasks for _ in "12"], [s for s in world.sources for _ in "12"]
    world.ratings = np.tile([0.0, 5.0], 160)
    assert world.fit().verdict == "no signal"


def test_separable_ratings_give_finite_coefficients() -> None:
    world = make_world(tasks=1, each=60, bias=0)
    world.ratings = np.where(world.features[:, 0] > 2.5, 5.0, 0.0)
    calibration = world.fit()
    assert calibration.verdict == "ok"
    numbers = re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", json.dumps(calibration.parts[0].base.to_json()["models"]))
    assert max(abs(float(number)) for number in numbers if number.strip(".")) < 1e3
    mean, _ = calibration.predict(world.features, world.tasks)
    assert np.corrcoef(mean, world.ratings)[0, 1] > 0.9


@pytest.mark.parametrize("bad", [math.nan, -0.5, 5.5])
def test_a_mean_rating_off_the_scale_is_refused(bad: float) -> None:
    world = make_world()
    world.ratings[3] = bad
    with pytest.raises(HPEditError, match="not in 0 to 5"):
        world.fit()


def test_all_edits_of_a_photo_are_on_one_side_of_every_split() -> None:
    world = make_world()
    tested: list[int] = []
    for train, test in folds(world.sources, np.arange(160)):
        assert not {world.sources[row] for row in train} & {world.sources[row] for row in test}
        tested.extend(test)
    assert sorted(tested) == list(range(160))


def test_photos_of_the_fit_are_recognised_without_their_names(fitted: Calibration) -> None:
    assert seen_edits(fitted, make_world(tasks=8, each=50).sources).all()
    assert seen_edits(fitted, ["new", "0-1"]).tolist() == [False, True]
    assert "0-1" not in fitted.sources
    assert source_hash("0-1") in fitted.sources


def test_equal_inputs_give_equal_bytes_and_json_brings_back_the_same_predictions(fitted: Calibration) -> None:
    text = json.dumps(fitted.to_json(), allow_nan=False)
    assert text == json.dumps(make_world(tasks=8, each=50).fit().to_json(), allow_nan=False)
    again = Calibration.from_json(json.loads(text))
    assert again == fitted
    world = make_world(seed=3)
    np.testing.assert_array_equal(
        again.predict(world.features, world.tasks), fitted.predict(world.features, world.tasks)
    )


def test_a_changed_calibration_is_refused(fitted: Calibration) -> None:
    data = fitted.to_json()
    data["noise"][0] += 0.1
    with pytest.raises(HPEditError, match="changed after it was fitted"):
        Calibration.from_json(data)


@pytest.mark.parametrize("damage", [{"format": 1}, {"parts": [{}]}, {"noise": None}, {"pearson": 3}, {"blend": {}}])
def test_what_is_not_a_calibration_is_refused(fitted: Calibration, damage: dict[str, object]) -> None:
    with pytest.raises(HPEditError, match="calibration"):
        Calibration.from_json({**fitted.to_json(), **damage})


@pytest.mark.parametrize("content", [[], "calibration", None])
def test_json_that_is_no_object_is_no_calibration(content: Any) -> None:
    with pytest.raises(HPEditError, match="not a calibration"):
        Calibration.from_json(content)


def test_features_of_another_shape_are_refused(fitted: Calibration) -> None:
    with pytest.raises(HPEditError, match="features of shape"):
        fitted.predict(np.zeros((2, 3)), ["task0"] * 2)
    with pytest.raises(HPEditError, match="distinct"):
        make_world().fit(("expected", "expected"))


def test_a_question_that_is_rarely_answered_is_not_used() -> None:
    world = make_world()
    world.features[40:, 1] = np.nan
    calibration = world.fit()
    assert calibration.parts[0].used == (0,)
    assert calibration.n == 160
    assert np.isnan(calibration.predict(np.array([[np.nan, 0.5]]), ["task0"])[0]).all()


def test_the_order_of_the_rows_changes_no_byte() -> None:
    world = make_world(tasks=2, each=30)
    order = np.random.default_rng(5).permutation(60)
    shuffled = World(
        world.features[order],
        [world.tasks[row] for row in order],
        world.ratings[order],
        [world.sources[row] for row in order],
    )
    assert shuffled.fit().to_json() == world.fit().to_json()


def test_the_fit_says_which_family_won_and_by_how_much() -> None:
    calibration = make_world(tasks=2, each=30).fit()
    judge = calibration.to_json()["choice"]["judges"]["judge"]
    assert set(judge["candidates"]) == {"raw", "linear", "ordinal", "trees", "chosen"}
    assert judge["won"] == " + ".join(calibration.parts[0].base.models)
    assert len(judge["folds"]) == 5
    for name, gain in judge["gain"].items():
        own = calibration.choice["scorer"]["pearson"] - judge["candidates"][name]["pearson"]
        assert gain["pearson"]["value"] == pytest.approx(own)


def with_question(each: int, seed: int = 0) -> tuple[World, tuple[str, ...]]:
    """Two tasks; a question sees in the first one what the base prompt does not."""
    world, rng = make_world(seed, tasks=2, each=each, bias=0), np.random.default_rng(seed + 50)
    unseen = rng.normal(0, 1, 2 * each)
    world.ratings = np.clip(world.ratings + np.where(np.arange(2 * each) < each, unseen, 0.0), 0, 5)
    asked = np.column_stack([1 / (1 + np.exp(-2 * unseen)), rng.uniform(0, 1, 2 * each)])
    world.features = np.hstack([world.features, asked])
    return world, (*NAMES, "q:helps", "q:noise")


def test_a_helpful_question_is_kept_for_its_task_with_100_ratings_and_none_with_10() -> None:
    world, names = with_question(100)
    calibration = world.fit(names)
    assert calibration.questions == {"task0": ("q:helps",), "task1": ()}
    fresh, _ = with_question(100, seed=7)
    mean, std = calibration.predict(fresh.features, fresh.tasks)
    without = fresh.features.copy()
    without[:, 2:] = np.nan
    base, wider = calibration.predict(without, fresh.tasks)
    first = slice(0, 100)
    assert np.mean((mean - fresh.ratings)[first] ** 2) < 0.7 * np.mean((base - fresh.ratings)[first] ** 2)
    assert (wider[first] > std[first]).mean() > 0.9
    np.testing.assert_array_equal(base[100:], mean[100:])
    assert world.fit(NAMES).questions == {"task0": (), "task1": ()}
    few, names = with_question(10)
    assert few.fit(names).questions == {"task0": (), "task1": ()}


def test_questions_alone_do_not_make_an_edit_scorable() -> None:
    world, names = with_question(60)
    mean, _ = world.fit(names).predict(np.array([[np.nan, np.nan, 0.9, 0.5]]), ["task0"])
    assert np.isnan(mean).all()


def judges_of(world: World, *others: tuple[str, FloatArray]) -> list[JudgeAnswers]:
    own = [("one", world.features), *others]
    return [JudgeAnswers(name, NAMES, values) for name, values in own]


def test_of_several_judges_one_without_signal_is_named_and_gets_no_weight() -> None:
    world, rng = make_world(tasks=2, each=50), np.random.default_rng(3)
    blind = np.column_stack([rng.uniform(0, 5, 100), rng.uniform(0, 1, 100)])
    calibration = fit_judges(judges_of(world, ("blind", blind)), world.tasks, world.ratings, world.sources)
    report = calibration.to_json()["judges"]
    assert (report["blind"]["verdict"], report["blind"]["weight"]) == ("no signal", 0.0)
    assert "correlation with people" in report["blind"]["reason"]
    assert (report["one"]["verdict"], report["one"]["weight"]) == ("ok", 1.0)
    assert calibration.feature_names == ("one/expected", "one/spread", "blind/expected", "blind/spread")
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration
    unanswered = np.hstack([np.full((1, 2), np.nan), blind[:1]])
    assert np.isnan(calibration.predict(unanswered, ["task0"])[0]).all()


def test_an_edit_that_one_of_two_judges_could_not_answer_is_scored_from_the_other() -> None:
    world, other = make_world(tasks=2, each=60, bias=0), make_world(tasks=2, each=60, bias=0)
    noise = np.random.default_rng(4).normal(0, 0.5, 120)
    other.features[:, 0] = np.clip(world.ratings + noise, 0, 5)
    calibration = fit_judges(judges_of(world, ("two", other.features)), world.tasks, world.ratings, world.sources)
    assert min(calibration.weights.values()) > 0
    table = np.hstack([world.features, other.features])
    full, std = calibration.predict(table, world.tasks)
    table[:, :2] = np.nan
    mean, wider = calibration.predict(table, world.tasks)
    assert np.corrcoef(mean, full)[0, 1] > 0.8
    assert (wider > std).mean() > 0.95


def test_judges_of_one_name_are_refused() -> None:
    world = make_world(tasks=1, each=30)
    with pytest.raises(HPEditError, match="distinct names"):
        fit_judges(judges_of(world, ("one", world.features)), world.tasks, world.ratings, world.sources)


def test_single_raters_whole_scores_are_enough() -> None:
    world = make_world(tasks=2, each=40)
    world.ratings = np.round(world.ratings)
    assert world.fit().verdict == "ok"
