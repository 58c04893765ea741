"""Scenes: all eight tasks, varied words, the same for the same seed; splits that share no photo crop."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion

from hpedit.errors import HPEditError
from hpedit.mini.drawing import SIZE
from hpedit.mini.photos import SPLITS, TILE, WHOLE_PHOTO_SPLITS_FROM, cut_tiles, embedded_tiles, folder_tiles, split_of
from hpedit.mini.scenes import MIN_CHANGE, WORDS, make_cases, make_scene
from hpedit.tasks import TASK_IDS


def test_cases_of_all_tasks_with_targets() -> None:
    cases = make_cases(embedded_tiles("bench"), 3, 0, "bench")
    assert len(cases) == 24
    assert {case.task for case in cases} == set(TASK_IDS)
    assert len({case.id for case in cases}) == 24
    for case in cases:
        assert case.source.size == (SIZE, SIZE)
        assert case.oracle is not None
        assert case.oracle.target.tobytes() != case.source.tobytes()
        assert case.licence
        assert case.origin


def test_same_seed_same_cases_other_seed_others() -> None:
    first, again, other = (make_cases(embedded_tiles("train"), 1, seed, "t") for seed in (5, 5, 6))
    assert [c.group_key for c in first] == [c.group_key for c in again]
    assert [c.group_key for c in first] != [c.group_key for c in other]


@pytest.mark.parametrize("task", TASK_IDS)
def test_instructions_vary(task: str) -> None:
    tiles = embedded_tiles("train")
    found = {make_scene(task, tiles, np.random.default_rng(k)).instruction for k in range(40)}
    assert len(found) >= len(WORDS[task])


@pytest.mark.parametrize("task", TASK_IDS)
def test_the_change_can_be_seen(task: str) -> None:
    tiles = embedded_tiles("train")
    for k in range(20):
        scene = make_scene(task, tiles, np.random.default_rng(k))
        inside = np.sqrt((((scene.source - scene.target) ** 2).mean(-1) * scene.region).sum() / scene.region.sum())
        assert inside > MIN_CHANGE
        kept = scene.region == 0
        if task in ("background", "bokeh"):
            # The borders of objects are half covered and show some of the background, so they change a little with it.
            kept = binary_erosion(kept, iterations=2)
        outside = np.abs(scene.source - scene.target).max(-1)[kept]
        assert outside.max(initial=0) < 0.02


def test_splits_of_the_embedded_photographs_share_no_tile() -> None:
    ids = {split: {tile.id for tile in embedded_tiles(split)} for split in SPLITS}
    assert all(ids.values())
    for a, b in combinations(SPLITS, 2):
        assert not ids[a] & ids[b]


def test_tiles_of_a_photo_do_not_overlap() -> None:
    index = np.arange(200 * 260, dtype=np.uint32).reshape(200, 260)
    photo = Image.fromarray(np.stack([(index >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)], -1))
    tiles = cut_tiles(photo, "p", "", "")
    assert len(tiles) == (200 // TILE) * (260 // TILE)
    seen: set[bytes] = set()
    for tile in tiles:
        pixels = {(p * 255).round().astype(np.uint8).tobytes() for row in tile.pixels for p in row}
        assert len(pixels) == TILE * TILE
        assert not pixels & seen
        seen |= pixels


def _photos(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"photo-{k}.png" for k in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (200, 220, 3), dtype=np.uint8)).save(path)
    return paths


def test_many_photographs_are_split_whole(tmp_path: Path) -> None:
    paths = _photos(tmp_path, WHOLE_PHOTO_SPLITS_FROM + 5)
    names = {split: {tile.origin for tile in folder_tiles(paths, split)} for split in SPLITS}
    for a, b in combinations(SPLITS, 2):
        assert not names[a] & names[b]


def test_too_few_photographs_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(path)
    owners = {split_of(tile.id) for tile in cut_tiles(Image.open(path), path.stem, path.name, "")}
    without = [split for split in SPLITS if split not in owners]
    assert without
    for split in without:
        with pytest.raises(HPEditError, match=split):
            folder_tiles([path], split)
