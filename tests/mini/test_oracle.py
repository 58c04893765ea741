"""The oracle's promises: exact 5, copy at most 1, monotone in change and keep, spoiled below clean."""

from __future__ import annotations

import numpy as np
import pytest

from hpedit.mini.build import spoil
from hpedit.mini.drawing import blur
from hpedit.mini.flaws import flawed_picture
from hpedit.mini.oracle import mark, score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import Scene, make_scene, to_case
from hpedit.tasks import TASK_IDS


def scenes(task: str, count: int = 6) -> list[Scene]:
    return [make_scene(task, embedded_tiles("bench"), np.random.default_rng((3, k))) for k in range(count)]


def score(scene: Scene, edit: np.ndarray) -> float:
    return mark(scene.source, scene.target, scene.region, np.clip(edit, 0, 1).astype(np.float32)).score


@pytest.mark.parametrize("task", TASK_IDS)
def test_exact_target_gets_five_and_a_copy_at_most_one(task: str) -> None:
    for scene in scenes(task):
        case = to_case(scene, "x")
        assert case.oracle is not None
        assert score_edit(case, case.oracle.target) == pytest.approx(5.0)
        assert score_edit(case, case.source) <= 1.0


@pytest.mark.parametrize("task", TASK_IDS)
@pytest.mark.parametrize("degrade", [spoil.noise, spoil.grid, spoil.saturate, spoil.sharpen, spoil.soften])
def test_a_spoiled_edit_scores_below_the_clean_one(task: str, degrade: spoil.Degrade) -> None:
    for number, scene in enumerate(scenes(task)):
        spoiled = degrade(scene.target, np.random.default_rng(number))
        if np.abs(spoiled - scene.target).max() < 1e-3:
            assert "black and white" in scene.instruction  # grey has no colour to exaggerate
            continue
        assert score(scene, spoiled) < score(scene, scene.target)


@pytest.mark.parametrize("task", TASK_IDS)
def test_score_rises_with_how_much_of_the_change_is_done(task: str) -> None:
    for scene in scenes(task):
        marks = [score(scene, scene.source + a * (scene.target - scene.source)) for a in np.linspace(0, 1, 9)]
        assert np.all(np.diff(marks) > 0)


@pytest.mark.parametrize("task", ["addition", "removal", "swap", "color", "background", "bokeh"])
def test_score_falls_with_how_much_of_the_rest_is_lost(task: str) -> None:
    for scene in scenes(task):
        rest = (1 - scene.region)[..., None]
        marks = [score(scene, scene.target + a * rest * (0.5 - scene.target)) for a in np.linspace(0, 0.5, 6)]
        assert np.all(np.diff(marks) < 0)


@pytest.mark.parametrize("task", [task for task in TASK_IDS if task != "bokeh"])  # most of a bokeh target is blurred
def test_a_blurred_edit_scores_clearly_below_a_sharp_one_of_equal_error(task: str) -> None:
    blurred, sharp = [], []
    for number, scene in enumerate(scenes(task, 12)):
        soft = blur(scene.target, 1.0)
        error = float(np.sqrt(((soft - scene.target) ** 2).mean()))
        cast = np.broadcast_to(np.asarray((1, 0, -1), np.float32), soft.shape)
        grain = np.random.default_rng(number).normal(size=soft.shape)
        blurred.append(score(scene, soft))
        sharp.append([score(scene, scene.target + error * d / np.sqrt((d**2).mean())) for d in (cast, grain)])
    assert np.all(np.mean(sharp, axis=0) - np.mean(blurred) > 0.8)


@pytest.mark.parametrize("count", [4, 40])
@pytest.mark.parametrize("task", TASK_IDS)
def test_the_mean_of_supervised_pairs_is_no_better_than_one_of_them(task: str, count: int) -> None:
    alone, averaged = [], []
    for number, scene in enumerate(scenes(task, 24)):
        rng = np.random.default_rng(number)
        pairs = [flawed_picture(scene.source, scene.target, scene.region, rng) for _ in range(count)]
        drawn = [blur(picture, 0.5) for picture in pairs]  # no editor is as sharp as a target
        alone.append(np.mean([score(scene, picture) for picture in drawn]))
        averaged.append(score(scene, np.mean(drawn, axis=0)))
    assert np.mean(averaged) < np.mean(alone) + 0.15  # of forty pairs of style the mean is 0.1 better


def test_parts_are_apart() -> None:
    scene = scenes("color", 1)[0]
    rest = (1 - scene.region)[..., None]
    harmed = mark(scene.source, scene.target, scene.region, scene.target + 0.1 * rest * (0.5 - scene.target))
    undone = mark(scene.source, scene.target, scene.region, scene.source)
    assert harmed.change == pytest.approx(1.0)
    assert harmed.keep < 1
    assert undone.change == 0
    assert undone.keep == pytest.approx(1.0)


def test_a_case_without_a_key_is_refused() -> None:
    case = to_case(scenes("style", 1)[0], "x")
    bare = type(case)(case.id, case.task, case.instruction, case.sources, case.source_id)
    with pytest.raises(ValueError, match="no oracle key"):
        score_edit(bare, bare.source)
