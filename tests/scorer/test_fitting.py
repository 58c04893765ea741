"""Scorers whose judges are asked: the mini judge on edits of the mini world."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.count_files import files_entered
from tests.scorer.probe_world import world
from typer.testing import CliRunner

from hpedit.cases.folder import CasesFolder
from hpedit.cli.scorer import scorer as scorer_command
from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.judges.protocol import Answer, Judge, Question
from hpedit.mini.raters import simulate_ratings
from hpedit.records import Rating
from hpedit.rl.trainer import train
from hpedit.scorer.evaluation.measure_tables import Curve, evaluate_table
from hpedit.scorer.features import BASE, FEATURES, ask_features
from hpedit.scorer.fitting import answered_table, fit_judged, load_judges, measure_judged, rated_pictures, read_pictures
from hpedit.scorer.hp_scorer import CALIBRATION, SETTINGS, HPScorer, mean_ratings
from hpedit.scorer.prompts import LIBRARY
from hpedit.stats.rater_agreement import mean_rating
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.shipped import judge_path
from hpedit.store.tables import write_cases, write_edits, write_ratings


class Listener:
    """A judge that passes questions on and remembers them."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.heard: list[Question] = []

    @property
    def fingerprint(self) -> str:
        return self.judge.fingerprint

    def ask(self, questions):
        self.heard += questions
        return self.judge.ask(questions)


class Mute:
    """A judge that refuses the questions with the given words in their tail."""

    fingerprint = "mute"

    def __init__(self, words: str) -> None:
        self.words = words

    def ask(self, questions):
        return [
            Answer(None, "it refused")
            if self.words in question.tail
            else Answer((1.0,) + (0.0,) * (len(question.choices) - 1))
            for question in questions
        ]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> SimpleNamespace:
    """Rated edits of calibration photos on disk, and a scorer fitted on them."""
    folder = tmp_path_factory.mktemp("judged")
    cases, edits, _ = world(5, "calibration")
    ratings = simulate_ratings([cases[edit.case_id] for edit in edits], edits, 0)
    write_cases(folder / "cases.parquet", cases.values())
    write_edits(folder / "edits.parquet", edits)
    write_ratings(folder / "ratings.csv", ratings)
    pictures = read_pictures(CasesFolder(folder / "cases.parquet"), folder / "edits.parquet", folder / "ratings.csv")
    scorer, report = fit_judged(pictures, load_judges(["mini"]), folder / "scorer")
    return SimpleNamespace(
        folder=folder, cases=cases, edits=edits, ratings=ratings, pictures=pictures, scorer=scorer, report=report
    )


def test_a_feature_matrix_holds_the_answers_to_the_tasks_own_questions(given) -> None:
    judge = Listener(given.scorer.judge)
    matrix = ask_features(judge, given.pictures.cases[:4], [edit.image for edit in given.pictures.edits[:4]])
    assert len(judge.heard) == sum(1 + len(LIBRARY[case.task]) for case in given.pictures.cases[:4])
    for row, case in enumerate(given.pictures.cases[:4]):
        asked = {*BASE, *(question.feature for question in LIBRARY[case.task])}
        answered = {name for name, value in zip(FEATURES, matrix.features[row], strict=True) if not np.isnan(value)}
        assert answered == asked
        values = matrix.features[row, [FEATURES.index(name) for name in asked - set(BASE)]]
        assert ((values >= 0) & (values <= 1)).all()
    assert matrix.reasons == (None,) * 4
    assert matrix.unreadable == 0


def test_quality_is_asked_with_and_without_the_source(given) -> None:
    judge = Listener(given.scorer.judge)
    ask_features(judge, given.pictures.cases[:1], [given.pictures.edits[0].image])
    quality = [question for question in judge.heard if "How real" in question.tail]
    assert sorted(len(question.images) for question in quality) == [1, 2]
    assert given.pictures.edits[0].image in next(q for q in quality if len(q.images) == 1).images


def test_an_unreadable_answer_is_missing_and_never_guessed(given) -> None:
    case, image = given.pictures.cases[0], given.pictures.edits[0].image
    matrix = ask_features(Mute("Score"), [case], [image])
    assert np.isnan(matrix.features[0, : len(BASE)]).all()
    assert matrix.reasons == ("it refused",)
    score = HPScorer({"mini": Mute("Score")}, given.scorer.calibration).score([case], [image])[0]
    assert score.value is None
    assert score.reason == "it refused"
    questions = ask_features(Mute("yes or no"), [case], [image])
    assert questions.unreadable == sum(question.good != "degree" for question in LIBRARY[case.task])
    assert questions.reasons == (None,)


def test_scoring_asks_the_kept_questions_alone(given) -> None:
    judge = Listener(given.scorer.judge)
    scores = HPScorer({"mini": judge}, given.scorer.calibration).score(
        given.pictures.cases, [edit.image for edit in given.pictures.edits]
    )
    kept = given.scorer.calibration.questions
    assert len(judge.heard) == sum(1 + len(kept[case.task]) for case in given.pictures.cases)
    table = answered_table({"mini": judge}, given.pictures, {"mini": kept})
    mean, std = given.scorer.calibration.predict(table.features, table.tasks)
    np.testing.assert_allclose([score.value for score in scores], mean)
    np.testing.assert_allclose([score.std for score in scores], std)


def test_one_calibrated_score_enters_at_most_seven_files_beside_the_judges(given) -> None:
    case, image = given.pictures.cases[0], given.pictures.edits[0].image
    given.scorer.score([case], [image])
    entered = files_entered(lambda: given.scorer.score([case], [image]))
    assert "scorer/calibration/calibration.py" in entered
    assert len([name for name in entered if not name.startswith("judges/")]) <= 7


def test_a_scorer_is_loaded_as_it_was_fitted(given) -> None:
    loaded = HPScorer.load(given.folder / "scorer")
    assert loaded.fingerprint == given.scorer.fingerprint
    assert given.report["verdict"] == "ok"
    assert given.report["n"] == len(given.pictures.edits)


@pytest.mark.parametrize("what", ["prompts", "judge"])
def test_another_judge_or_prompt_than_at_calibration_is_refused(given, tmp_path: Path, what: str) -> None:
    for file in (given.folder / "scorer").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = read_json(tmp_path / SETTINGS)
    if what == "judge":
        settings["judges"]["mini"]["fingerprint"] = "0" * 16
    else:
        settings["prompts"] = "0" * 16
    atomic_write(tmp_path / SETTINGS, dump_json(settings))
    with pytest.raises(HPEditError, match=f"{what}.* had the fingerprint 0000"):
        HPScorer.load(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"judges": {}, "prompts": "x"}, {"judges": {"mini": {}}, "prompts": "x"}])
def test_a_damaged_scorer_json_is_named(given, tmp_path: Path, content: object) -> None:
    (tmp_path / CALIBRATION).write_bytes((given.folder / "scorer" / CALIBRATION).read_bytes())
    atomic_write(tmp_path / SETTINGS, dump_json(content))
    with pytest.raises(HPEditError, match=r"scorer\.json is damaged"):
        HPScorer.load(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_seen_before_anything_is_asked(given, tmp_path: Path) -> None:
    (tmp_path / "scorer").write_text("mine")
    judge = Listener(given.scorer.judge)
    with pytest.raises(HPEditError, match="is a file"):
        fit_judged(given.pictures, {"mini": judge}, tmp_path / "scorer")
    assert judge.heard == []
    assert (tmp_path / "scorer").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["fit", "--judge", "mini", "--out", "s", "--cases", "c"], ["--columns", "realism:0:10"]),
        (["fit", "--judge", "mini", "--out", "s", "--scores", "c"], ["--cache", "a"]),
        (["fit", "--judge", "mini", "--out", "s", "--scores", "c"], ["--revision", "1"]),
        (["eval", "--judge", "mini", "--curve", "--cases", "c"], ["--columns", "realism:0:10"]),
        (["eval", "--scorer", "s", "--scores", "c"], ["--cache", "a"]),
    ],
)
def test_an_option_without_effect_is_refused(command: list[str], option: list[str]) -> None:
    with pytest.raises(HPEditError, match=f"{option[0]} has no effect here"):
        CliRunner().invoke(
            scorer_command, [*command, "--edits", "e", "--ratings", "r", *option], catch_exceptions=False
        )


def test_a_raters_last_rating_of_an_edit_counts(given) -> None:
    case, edit = given.pictures.cases[0], given.pictures.edits[0]
    ratings = [Rating(edit.id, "Ann", 1.0), Rating(edit.id, "Bob", 4.0), Rating(edit.id, "Ann", 5.0)]
    assert mean_ratings(ratings) == {edit.id: 4.5}
    assert mean_rating(rated_pictures({case.id: case}, [edit], ratings).ratings).tolist() == [4.5]


def test_two_judges_make_one_scorer_and_the_one_that_adds_nothing_is_not_asked(given, tmp_path: Path) -> None:
    names = ["mini", str(judge_path())]
    scorer, report = fit_judged(given.pictures, load_judges(names), tmp_path)
    assert set(report["judges"]) == set(names)
    weights = scorer.calibration.weights
    assert sorted(value > 0 for value in weights.values()) == [False, True]
    loaded = HPScorer.load(tmp_path)
    assert list(loaded.judges) == [name for name, weight in weights.items() if weight > 0]
    assert loaded.fingerprint == scorer.fingerprint == HPScorer.load(tmp_path, every=True).fingerprint
    cases, images = given.pictures.cases[:6], [edit.image for edit in given.pictures.edits[:6]]
    values = [score.value for score in loaded.score(cases, images)]
    idle = Listener(scorer.judges[next(name for name, weight in weights.items() if weight == 0)])
    both = HPScorer(
        {**scorer.judges, **dict.fromkeys(set(scorer.judges) - set(loaded.judges), idle)}, scorer.calibration
    )
    assert [score.value for score in both.score(cases, images)] == values
    assert idle.heard == []
    assert None not in values
    with pytest.raises(HPEditError, match="named twice"):
        load_judges(["mini", "mini"])


def test_a_scorer_and_its_curve_are_measured_on_photos_it_did_not_see(given, tmp_path: Path) -> None:
    cases, edits, _ = world(4, "bench")
    ratings = simulate_ratings([cases[edit.case_id] for edit in edits], edits, 1)
    pictures = rated_pictures(cases, edits, ratings)
    found, grown = measure_judged(pictures, given.folder / "scorer", (), Curve((4,), 1), cache=tmp_path / "answers")
    assert found is not None
    assert grown is not None
    assert found["seen"] == "none"
    assert found["n"] == len(pictures.edits)
    assert found["pearson"]["value"] > 0.5
    assert [point["number"] for point in grown["points"]] == [4]
    again = evaluate_table(given.scorer.calibration, answered_table({"mini": given.scorer.judge}, pictures))
    # Other questions share a batch there, which moves an answer in its last digits.
    assert again["pearson"]["value"] == pytest.approx(found["pearson"]["value"], abs=1e-5)
    with pytest.raises(HPEditError, match="were used to fit the scorer"):
        measure_judged(given.pictures, given.folder / "scorer")


def test_ratings_of_no_known_edit_are_an_error(given, tmp_path: Path) -> None:
    write_ratings(tmp_path / "ratings.csv", [Rating("another", "Ann", 3.0)])
    with pytest.raises(HPEditError, match="rates no edit"):
        read_pictures(
            CasesFolder(given.folder / "cases.parquet"), given.folder / "edits.parquet", tmp_path / "ratings.csv"
        )


def test_a_scorer_without_signal_is_refused_as_a_reward(given, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [Rating(edit.id, "Ann", float(rng.integers(6))) for edit in given.edits]
    _, report = fit_judged(rated_pictures(given.cases, given.edits, noise), load_judges(["mini"]), tmp_path / "scorer")
    assert report["verdict"] == "no signal"
    recipe = Recipe(
        output=str(tmp_path / "run"), cases=str(given.folder / "cases.parquet"), scorer=str(tmp_path / "scorer")
    )
    with pytest.raises(HPEditError, match="no signal and is refused as a reward"):
        train(recipe)
