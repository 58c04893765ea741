"""Questions are kept where they help people's scores to be foreseen, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hpedit.scorer.calibration.base_selection import fewest
from hpedit.scorer.calibration.fitted_models import QuestionStage
from hpedit.scorer.calibration.question_stage import fit_questions
from hpedit.stats.bootstrap import FloatArray

NAMES = ("q:helps", "q:noise", "q:copy")


@dataclass
class World:
    """Edits whose base score misses a part of the truth that one question sees."""

    base: FloatArray
    answers: FloatArray
    target: FloatArray
    tasks: list[str]
    sources: list[str]

    def fit(self, **options: Any) -> tuple[QuestionStage, FloatArray]:
        return fit_questions(self.base, self.answers, NAMES, self.tasks, self.target, self.sources, **options)


def make_world(each: int, seed: int = 0, tasks: int = 2, help: float = 0.8) -> World:
    rng = np.random.default_rng(seed)
    n = each * tasks
    seen, unseen = rng.normal(0, 1, n), rng.normal(0, 1, n)
    target = np.clip(2.5 + 0.8 * seen + help * unseen + rng.normal(0, 0.4, n), 0, 5)
    helps = 1 / (1 + np.exp(-unseen - 0.3 * seen + rng.normal(0, 0.3, n)))
    answers = np.column_stack([helps, rng.uniform(0, 1, n), helps + rng.normal(0, 0.02, n)])
    tasks_of = [f"task{row // each}" for row in range(n)]
    return World(np.clip(2.5 + 0.8 * seen, 0, 5), answers, target, tasks_of, [f"s{row // 2}" for row in range(n)])


@pytest.mark.parametrize("seed", range(5))
def test_a_helpful_question_is_found_with_100_ratings_a_task(seed: int) -> None:
    world = make_world(100, seed)
    stage, held_out = world.fit()
    for task in ("task0", "task1"):
        assert set(stage.tasks[task].names) & {"q:helps", "q:copy"}
    assert np.mean((held_out - world.target) ** 2) < 0.6 * np.mean((world.base - world.target) ** 2)


def test_useless_questions_are_rarely_kept() -> None:
    kept = 0
    for seed in range(20):
        world = make_world(100, seed, tasks=1, help=0.0)
        world.answers = np.random.default_rng(seed + 1000).uniform(0, 1, (100, 3))
        kept += len(world.fit()[0].tasks)
    assert kept <= 4


@pytest.mark.parametrize("seed", range(5))
def test_with_10_ratings_a_task_the_base_prompt_is_kept(seed: int) -> None:
    world = make_world(10, seed, tasks=8)
    stage, held_out = world.fit()
    assert stage.tasks == {}
    np.testing.assert_array_equal(held_out, world.base)


def test_of_an_exclusive_group_at_most_one_is_kept() -> None:
    world = make_world(100)
    stage, _ = world.fit(exclusive=[{"q:helps", "q:copy"}])
    for own in stage.tasks.values():
        assert len(set(own.names) & {"q:helps", "q:copy"}) == 1


def test_only_the_tasks_own_questions_are_considered() -> None:
    stage, _ = make_world(100).fit(candidates={"task0": ["q:noise"], "task1": ["q:helps"]})
    assert "q:helps" not in (stage.tasks["task0"].names if "task0" in stage.tasks else ())
    assert stage.tasks["task1"].names == ("q:helps",)


def test_an_answer_that_is_not_there_adds_nothing_and_widens_the_deviation() -> None:
    world = make_world(100)
    stage, _ = world.fit()
    answers = world.answers.copy()
    answers[:50] = np.nan
    mean, variance = stage.predict(world.base, answers, NAMES, world.tasks)
    np.testing.assert_array_equal(mean[:50], world.base[:50])
    assert (variance[:50] > 0).all()
    assert (variance[50:100] == 0).all()
    assert (mean[50:100] != world.base[50:100]).any()


def test_a_better_answer_or_base_score_never_lowers_a_score() -> None:
    world = make_world(100, help=2.0)
    stage, _ = world.fit()
    grid = np.linspace(0, 5, 41)
    for value in (0.0, 0.4, 1.0):
        mean, _ = stage.predict(grid, np.full((41, 3), value), NAMES, ["task0"] * 41)
        assert (np.diff(mean) >= -1e-12).all()
        assert 0 <= mean.min() <= mean.max() <= 5
    for base in (0.1, 2.5, 4.9):
        mean, _ = stage.predict(np.full(41, base), np.tile(grid[:, None] / 5, 3), NAMES, ["task0"] * 41)
        assert (np.diff(mean) >= -1e-12).all()


def test_a_question_that_speaks_against_people_gets_no_weight() -> None:
    world = make_world(100)
    world.answers = 1 - world.answers
    stage, _ = world.fit()
    assert not any("q:helps" in own.names and own.weights[own.names.index("q:helps")] for own in stage.tasks.values())


def test_an_unasked_question_is_no_candidate() -> None:
    world = make_world(100)
    world.answers[:, 0] = world.answers[:, 2] = np.nan
    stage, _ = world.fit()
    assert not any({"q:helps", "q:copy"} & set(own.names) for own in stage.tasks.values())


def test_the_bar_rises_with_the_number_of_additions_that_were_tried() -> None:
    rng = np.random.default_rng(0)
    plain = rng.uniform(0, 2, 200)
    noise = rng.normal(size=200)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    better = plain - 0.1 * noise - 1.5 * 0.1 / np.sqrt(200)
    sources = [str(row) for row in range(200)]
    assert fewest([plain, better], sources, [0, 1]) == 1
    assert fewest([plain, better], sources, [0, 8]) == 0
