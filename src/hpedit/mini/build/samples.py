"""What the mini judge learns from: rated edits of scenes, and the labels of the side tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpedit.mini.architecture import JUDGE_PATCH
from hpedit.mini.build.spoil import degenerate_edit, injected, spoiled_edit
from hpedit.mini.drawing import SIZE
from hpedit.mini.oracle import mark
from hpedit.mini.photos import Tile, embedded_tiles
from hpedit.mini.scenes import Scene, make_scene
from hpedit.tasks import TASK_IDS

SIDE = SIZE // (2 * JUDGE_PATCH)
TOKENS = SIDE * SIDE
IMAGINED = 13
"""Answers of a source token: 2 x 2 colours of the target, share of its pixels that must change."""
COMPARED = 4
"""Answers of an edit token: distance to source, to target, to target inside and outside the region."""
DEGENERATE_SHARE = 0.12
"""Share of synthetic edits that a reward must never like: copies, noise, grids, another scene, written text."""
INJECTED_SHARE = 0.05
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
    p, side = JUDGE_PATCH, SIDE
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    x = x.reshape(-1, 3, side, 2, p, side, 2, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.unsqueeze(6).expand(*x.shape[:6], 2, p, p).reshape(-1, 3 * 2 * p * p)


def _blocks(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Means over blocks of `size` px: (B, 32, 32, C) -> (B, 32/size, 32/size, C)."""
    b, h, w, c = values.shape
    means: NDArray[np.float32] = values.reshape(b, h // size, size, w // size, size, c).mean((2, 4))
    return means


def dense_labels(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Labels of the side tasks, (B, 16, IMAGINED) and (B, 16, COMPARED), each of about unit range."""
    source, target, edit = (
        np.stack([getattr(sample, name) for sample in samples]) for name in ("source", "target", "edit")
    )
    region = np.stack([sample.region for sample in samples])[..., None]
    colours = (
        _blocks(target, 4).reshape(-1, SIDE, 2, SIDE, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, 12)
    )
    imagined = np.concatenate((colours * 2 - 1, _blocks(region, 8)), -1)
    wrong = (edit - target) ** 2
    errors = ((edit - source) ** 2, wrong, wrong * region, wrong * (1 - region))
    compared = np.concatenate([np.sqrt(_blocks(error, 8).mean(-1, keepdims=True)) * 4 for error in errors], -1)
    return _by_token(imagined), _by_token(compared)


def _by_token(labels: NDArray[np.float32]) -> Tensor:
    """(B, 4, 4, n) -> (B, 16, n), in reading order."""
    return torch.from_numpy(labels.reshape(-1, TOKENS, labels.shape[-1]).astype(np.float32))
