"""What the mini judge learns from: rated edits of scenes, and the labels of the side tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hpedit.mini.architecture import JUDGE_MERGE, JUDGE_PATCH
from hpedit.mini.build.spoil import degenerate_edit, injected, spoiled_edit
from hpedit.mini.drawing import SIZE
from hpedit.mini.oracle import FAINT, WINDOW, mark
from hpedit.mini.photos import Tile, embedded_tiles
from hpedit.mini.scenes import Scene, make_scene
from hpedit.tasks import TASK_IDS

CELL = JUDGE_PATCH * JUDGE_MERGE
"""Side in pixels of what one token shows."""
SIDE = SIZE // CELL
TOKENS = SIDE * SIDE
IMAGINED = 13
"""Answers of a source token: 2 x 2 colours of the target, share of its pixels that must change."""
COMPARED = 6
"""Answers of an edit token: distance to source, to target, to target inside and outside the region, of edges, and how
much of the target's detail is lost."""
LOCAL = ("addition", "removal", "swap", "color")
"""Tasks that change one named object."""
DEGENERATE_SHARE = 0.12
"""Share of synthetic edits that a reward must never like: copies, noise, grids, another scene, written text."""
INJECTED_SHARE = 0.2
"""Share of instructions with an order to the judge in them, which changes nothing of the score."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One rated edit: pictures (32, 32, 3) in [0, 1], region (32, 32) and the oracle's score in [0, 5]."""

    task: str
    instruction: str
    source: NDArray[np.float32]
    target: NDArray[np.float32]
    region: NDArray[np.float32]
    edit: NDArray[np.float32]
    score: float


def to_sample(scene: Scene, edit: NDArray[np.float32]) -> Sample:
    """A rated edit of a scene."""
    score = mark(scene.source, scene.target, scene.region, edit).score
    return Sample(scene.task, scene.instruction, scene.source, scene.target, scene.region, edit, score)


def varied_tiles(rng: np.random.Generator, count: int = 24) -> tuple[Tile, ...]:
    """Tiles of the pretrain split, mirrored, turned and recoloured: thirteen photographs are few to learn from."""
    tiles = embedded_tiles("pretrain")
    return tuple(_vary(tiles[int(rng.integers(len(tiles)))], rng) for _ in range(count))


def _vary(tile: Tile, rng: np.random.Generator) -> Tile:
    pixels = np.rot90(tile.pixels, int(rng.integers(4)))
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.4:
        pixels = pixels[..., rng.permutation(3)]
    contrast, level = rng.uniform(0.6, 1.3), rng.uniform(-0.15, 0.15)
    mean = pixels.mean()
    recoloured = np.clip((pixels - mean) * contrast + mean + level, 0, 1) ** rng.uniform(0.7, 1.4)
    return Tile(tile.id, np.ascontiguousarray(recoloured, dtype=np.float32), tile.origin, tile.licence)


def fresh_scenes(step: int, count: int, seed: int) -> list[Sample]:
    """`count` scenes with their sources as edits, those of one task together; a function of its arguments.

    Two of three are of the tasks that change one named object: which one is meant takes longest to learn.
    """
    rng = np.random.default_rng((seed, 88, step))
    tiles = varied_tiles(rng)
    shares = np.array([2.0 if task in LOCAL else 1.0 for task in TASK_IDS])
    drawn = np.sort(rng.choice(len(TASK_IDS), size=count, p=shares / shares.sum()))
    scenes = [make_scene(TASK_IDS[number], tiles, rng) for number in drawn]
    return [maybe_injected(to_sample(scene, scene.source), rng) for scene in scenes]


def synthetic(step: int, per_task: int, seed: int) -> list[Sample]:
    """Fresh spoiled edits, `per_task` of each task in turn; a function of its arguments."""
    rng = np.random.default_rng((seed, step))
    tiles = varied_tiles(rng)
    samples: list[Sample] = []
    for task in TASK_IDS:
        for _ in range(per_task):
            scene = make_scene(task, tiles, rng)
            if rng.random() < DEGENERATE_SHARE:
                edit = degenerate_edit(scene, make_scene(task, tiles, rng).target, rng)
            else:
                edit = spoiled_edit(scene, rng)
            samples.append(maybe_injected(to_sample(scene, edit), rng))
    return samples


def maybe_injected(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample, at times with an order to the judge in its instruction."""
    if rng.random() >= INJECTED_SHARE:
        return sample
    words = injected(sample.instruction, rng)
    return Sample(sample.task, words, sample.source, sample.target, sample.region, sample.edit, sample.score)


def patchify(pictures: NDArray[np.float32]) -> Tensor:
    """Pictures (B, 32, 32, 3) in [0, 1] as the patches Qwen2VLImageProcessor makes of them: (B * 64, 3 * 2 * 4 * 4)."""
    p, m, side = JUDGE_PATCH, JUDGE_MERGE, SIDE
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    x = x.reshape(-1, 3, side, m, p, side, m, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.unsqueeze(6).expand(*x.shape[:6], 2, p, p).reshape(-1, 3 * 2 * p * p)


def _blocks(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Means over blocks of `size` px: (B, 32, 32, C) -> (B, 32/size, 32/size, C)."""
    b, h, w, c = values.shape
    means: NDArray[np.float32] = values.reshape(b, h // size, size, w // size, size, c).mean((2, 4))
    return means


def imagined_labels(samples: Sequence[Sample]) -> Tensor:
    """What the target looks like at each token of the source, (B, 16, IMAGINED), of about unit range."""
    target = np.stack([sample.target for sample in samples])
    region = np.stack([sample.region for sample in samples])[..., None]
    half = CELL // 2
    cut = _blocks(target, half).reshape(-1, SIDE, 2, SIDE, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    colours = cut.reshape(-1, SIDE, SIDE, 12)
    return _by_token(np.concatenate((colours * 2 - 1, _blocks(region, CELL)), -1))


def compared_labels(samples: Sequence[Sample]) -> Tensor:
    """How far each token of the edit is from source and target, (B, 16, COMPARED), of about unit range."""
    source, target, edit = (
        np.stack([getattr(sample, name) for sample in samples]) for name in ("source", "target", "edit")
    )
    region = np.stack([sample.region for sample in samples])[..., None]
    wrong = (edit - target) ** 2
    edges = _gradients(edit - target) ** 2
    errors = ((edit - source) ** 2, wrong, wrong * region, wrong * (1 - region), edges)
    found = [np.sqrt(_blocks(error, CELL).mean(-1, keepdims=True)) * 4 for error in errors]
    found.append(_blocks(_lost(target, edit)[..., None], CELL) * 3)
    return _by_token(np.concatenate(found, -1))


def _lost(target: NDArray[np.float32], edit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contrast that the edit lost at each pixel, as `hpedit.mini.oracle.lost_detail` counts it; (B, 32, 32)."""
    sought, shown = (_gradients(pictures) for pictures in (target, edit))
    both, energy = (
        gaussian_filter((sought * other).sum(-1), (0, WINDOW, WINDOW), mode="nearest") for other in (shown, sought)
    )
    share = (both + FAINT**2) / (energy + FAINT**2)
    lost: NDArray[np.float32] = np.clip(1 - share, 0, 1) * np.sqrt(energy)
    return lost


def _gradients(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """`hpedit.mini.oracle.gradients` of pictures (B, 32, 32, 3)."""
    return np.concatenate([_steps(pictures, axis) for axis in (2, 1)], -1)


def _steps(pictures: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.diff(pictures, axis=axis, append=np.take(pictures, [-1], axis))


def _by_token(labels: NDArray[np.float32]) -> Tensor:
    """(B, 4, 4, n) -> (B, 16, n), in reading order."""
    return torch.from_numpy(labels.reshape(-1, TOKENS, labels.shape[-1]).astype(np.float32))
