"""What the judge learns to rank, the loss that teaches it, and the figures that measure it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpedit.mini.architecture import build_vae
from hpedit.mini.build.editor import Codec
from hpedit.mini.build.edits import GROUP, EditedScene, group_batch, side_by_side
from hpedit.mini.build.judge import _owners, ranking_loss
from hpedit.mini.build.samples import compared_labels, synthetic, to_sample
from hpedit.mini.build.spoil import shifted, zoomed
from hpedit.mini.oracle import lost_detail
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_scene
from hpedit.stats.ranking import case_rows, within_cases
from hpedit.tasks import TASK_IDS

CASES = ["a"] * 3 + ["b"] * 3


def test_the_right_order_in_each_case_is_all_that_counts() -> None:
    right = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    found = right + np.repeat((0.0, -9.0), 3)
    figures = within_cases(found, right, CASES)
    assert figures == pytest.approx({"spearman": 1.0, "pearson": 1.0, "pick_share": 1.0})
    assert within_cases(-found, right, CASES) == pytest.approx({"spearman": -1.0, "pearson": -1.0, "pick_share": -1.0})


def test_equal_scores_order_nothing_and_cases_without_an_order_are_left_out() -> None:
    right = np.array([0.0, 1.0, 2.0, 3.0, 3.0, 3.0])
    rows = case_rows(np.ones(6), right, CASES)
    assert rows.shape == (1, 4)
    assert rows[0, 0] == rows[0, 1] == 0
    assert within_cases(np.ones(3), np.ones(3), CASES[:3]) == {}


def test_ranking_loss_is_least_at_the_true_differences_whatever_the_scene_is_worth() -> None:
    one, other = synthetic(0, 1, 0)[:2]
    samples = [one, replace(one, score=one.score + 0.1), other, replace(other, score=other.score - 1.0)]
    scores = torch.tensor([sample.score for sample in samples])
    assert _owners(samples, ["source first"] * 4) == [0, 0, 1, 1]
    offset = torch.tensor([2.0, 2.0, -1.0, -1.0])
    assert float(ranking_loss(samples, scores + offset, scores)) == pytest.approx(0, abs=1e-6)
    assert float(ranking_loss(samples, scores * 0, scores)) > 0.1
    assert float(ranking_loss(samples[1:3], scores[1:3] * 0, scores[1:3])) == 0


def test_a_batch_holds_several_edits_of_one_scene_of_each_task_and_is_a_function_of_its_arguments() -> None:
    rng = np.random.default_rng(0)
    edited = []
    for task in TASK_IDS:
        scene = make_scene(task, embedded_tiles("pretrain"), rng)
        pictures = np.stack([scene.target, scene.source, scene.target * 0.5, scene.target * 0.9])
        edited.append(EditedScene(scene, (pictures * 255).astype(np.uint8)))
    codec = Codec(build_vae().eval())
    for step in range(3):
        batch, again = (group_batch(edited, codec, 0, step) for _ in range(2))
        assert sorted(s.task for s in batch) == sorted(task for task in TASK_IDS for _ in range(GROUP))
        assert all(len({id(s.source) for s in batch[i : i + GROUP]}) == 1 for i in range(0, len(batch), GROUP))
        assert all(np.array_equal(a.edit, b.edit) and a.score == b.score for a, b in zip(batch, again, strict=True))
        assert all(np.allclose(s.edit * 255, np.round(s.edit * 255), atol=1e-3) for s in batch)
    scored = side_by_side(edited)
    assert scored[0].score > 4.9
    assert scored[1].score == pytest.approx(0, abs=0.3)


def test_moved_pictures_differ_and_keep_their_size() -> None:
    rng = np.random.default_rng(0)
    picture = rng.uniform(size=(32, 32, 3)).astype(np.float32)
    for change in (shifted, zoomed):
        moved = [change(picture, rng) for _ in range(30)]
        assert all(m.shape == picture.shape and m.min() >= 0 and m.max() <= 1 for m in moved)
        assert all(np.abs(m - picture).mean() > 0.01 for m in moved)


def test_lost_detail_by_token_follows_the_oracles() -> None:
    scene = make_scene("color", embedded_tiles("pretrain"), np.random.default_rng(1))
    soft = scene.target + 0.6 * (scene.target.mean((0, 1)) - scene.target)
    exact, faint = (to_sample(scene, picture) for picture in (scene.target, soft))
    labels = compared_labels([exact, faint])[..., -1].sum(-1)
    assert float(labels[0]) == pytest.approx(0, abs=1e-5)
    assert float(labels[1]) > 1
    assert lost_detail(scene.target, soft) > 0.3
