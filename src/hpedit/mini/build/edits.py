"""Edits of one scene side by side, from which the judge learns to rank.

A group holds edits of the base editor at several numbers of steps, and what is made of them: means of several, steps
towards the exact target as post-training takes them, degraded versions, degenerate edits. Groups of drawn edits of
fresh scenes, some sent through the VAE, add variety.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from hpedit.mini.build.editor import Codec, EditorTrainer
from hpedit.mini.build.samples import INJECTED_SHARE, Sample, to_sample, varied_tiles
from hpedit.mini.build.spoil import degenerate_edit, degraded, injected, spoiled_edit
from hpedit.mini.build.vae import two_dimensional
from hpedit.mini.photos import Pixels, embedded_tiles
from hpedit.mini.scenes import Scene, make_scene
from hpedit.tasks import TASK_IDS

STEPS = (2, 4, 4, 8, 8, 8)
"""Euler steps of the edits of one scene."""
CHUNK = 32
"""Scenes edited at a time; each chunk has its own noise seed, so another size gives other edits."""
EDITED_SHARE = 0.75
"""Share of the groups that are edits of the base editor; the others are drawn."""
GROUP = 8
"""Edits of one scene in a batch."""
ADVANCED_SHARE = 0.35
"""Share of the groups whose edits were all moved towards the exact target: what an editor makes that was aligned."""


@dataclass(frozen=True, slots=True)
class EditedScene:
    """A scene and the base editor's edits of it, (n, 32, 32, 3) uint8."""

    scene: Scene
    edits: NDArray[np.uint8]


def edited_scenes(pipeline: QwenImageEditPlusPipeline, folder: Path, count: int, seed: int) -> list[EditedScene]:
    """The base editor's edits of `count` fresh scenes, the tasks in turn; kept in `folder` for the next call."""
    file = folder / f"edits-{count}-{seed}.safetensors"
    scenes = [_scene(index, seed) for index in range(count)]
    if file.exists():
        pixels = load_file(file)["edits"].numpy()
    else:
        pixels = edits_of(pipeline, scenes, STEPS, seed)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"edits": torch.from_numpy(pixels)}, file)
    return [EditedScene(scene, edits) for scene, edits in zip(scenes, pixels, strict=True)]


def _scene(index: int, seed: int) -> Scene:
    rng = np.random.default_rng((seed, 55, index))
    tiles = embedded_tiles("pretrain") if index % 16 < 8 else varied_tiles(rng, 1)
    return make_scene(TASK_IDS[index % 8], tiles, rng)


@torch.no_grad()
def edits_of(
    pipeline: QwenImageEditPlusPipeline, scenes: Sequence[Scene], steps: Sequence[int], seed: int
) -> NDArray[np.uint8]:
    """One edit of each scene for each number of steps, each from noise of its own: (n, len(steps), 32, 32, 3)."""
    codec, trainer = Codec(pipeline.vae), EditorTrainer(pipeline).eval()
    found = []
    with two_dimensional():
        for start in range(0, len(scenes), CHUNK):
            part = scenes[start : start + CHUNK]
            sources = np.stack([scene.source for scene in part])
            source = codec.encode(sources)
            text, mask = trainer.embed([scene.instruction for scene in part], sources)
            generator = torch.Generator().manual_seed(seed * 10**6 + start)
            edits = []
            for count in steps:
                pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / count, count), mu=0.5)
                x = torch.randn(source.shape, generator=generator)
                for s, following in pairwise(pipeline.scheduler.sigmas):
                    x = x + (following - s) * trainer.velocity(x, s.expand(len(x)), source, text, mask)
                edits.append((codec.decode(x) * 255).round().astype(np.uint8))
            found.append(np.stack(edits, 1))
    return np.concatenate(found)


def side_by_side(edited: Sequence[EditedScene]) -> list[Sample]:
    """All edits with the oracle's scores, those of one scene beside each other."""
    return [to_sample(one.scene, edit.astype(np.float32) / np.float32(255)) for one in edited for edit in one.edits]


def group_batch(edited: Sequence[EditedScene], codec: Codec, seed: int, step: int) -> list[Sample]:
    """A batch: GROUP edits of one scene of each task; a function of its arguments.

    `edited` holds the tasks in turn; without any, all groups are drawn.
    """
    rng = np.random.default_rng((seed, 66, step))
    batch: list[Sample] = []
    drawn: list[tuple[Scene, list[Pixels]]] = []
    tiles = varied_tiles(rng, 8)
    for number, task in enumerate(TASK_IDS):
        if rng.random() < EDITED_SHARE and edited:
            chosen = edited[int(rng.integers(len(edited) // 8)) * 8 + number]
            batch += _rated(chosen.scene, edited_group(chosen, rng), rng)
        else:
            scene, other = make_scene(task, tiles, rng), make_scene(task, tiles, rng)
            drawn.append((scene, drawn_group(scene, other.target, rng)))
    through = rng.random() < 0.5
    for scene, edits in drawn:
        if through:
            with two_dimensional():
                edits[: GROUP // 2] = codec.decode(codec.encode(np.stack(edits[: GROUP // 2])))
        batch += _rated(scene, edits, rng)
    return batch


def _rated(scene: Scene, edits: Sequence[Pixels], rng: np.random.Generator) -> list[Sample]:
    """Edits of a scene with the oracle's scores, at times with an order to the judge in their instruction."""
    samples = [to_sample(scene, edit) for edit in edits]
    if rng.random() >= INJECTED_SHARE:
        return samples
    words = injected(scene.instruction, rng)
    return [Sample(s.task, words, s.source, s.target, s.region, s.edit, s.score) for s in samples]


def edited_group(chosen: EditedScene, rng: np.random.Generator) -> list[Pixels]:
    """GROUP edits of a scene: the editor's own, and some made of them."""
    order = rng.permutation(len(chosen.edits))
    own: list[Pixels] = [chosen.edits[i].astype(np.float32) / np.float32(255) for i in order]
    if rng.random() < ADVANCED_SHARE:
        way = rng.uniform(0.1, 0.8)
        own = [_nearer(edit, chosen.scene, way * rng.uniform(0.7, 1.2)) for edit in own]
    count = min(len(own), GROUP - 2 - int(rng.integers(2)))
    made: list[Pixels] = []
    while count + len(made) < GROUP:
        made.append(_made_of(own, chosen.scene, rng))
    group = own[:count] + made
    return [group[i] for i in rng.permutation(GROUP)]


def _made_of(own: Sequence[Pixels], scene: Scene, rng: np.random.Generator) -> Pixels:
    """A mean of edits, one nearer to the target, a degraded one, or a drawn one."""
    kind = float(rng.random())
    one, two = (own[int(i)] for i in rng.permutation(len(own))[:2])
    if kind < 0.2:
        many = (one, two) if rng.random() < 0.6 else own
        mean: Pixels = np.mean(many, axis=0, dtype=np.float32)
        return _levels(mean)
    if kind < 0.35:
        return _nearer(one, scene, rng.uniform(0.1, 0.9))
    if kind < 0.72:
        return degraded(one, rng)
    if kind < 0.9:
        return spoiled_edit(scene, rng)
    return degenerate_edit(scene, two[::-1, ::-1], rng)


def _nearer(edit: Pixels, scene: Scene, way: float) -> Pixels:
    """The edit after a share of the way to the exact target."""
    return _levels(edit + np.float32(way) * (scene.target - edit))


def drawn_group(scene: Scene, other: Pixels, rng: np.random.Generator) -> list[Pixels]:
    """GROUP drawn edits of a scene, from exact to hopeless; `other` is a picture of another scene."""
    return [
        degenerate_edit(scene, other, rng) if rng.random() < 0.12 else spoiled_edit(scene, rng) for _ in range(GROUP)
    ]


def _levels(picture: Pixels) -> Pixels:
    """Onto the 256 levels that a picture file has."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.float32) / np.float32(255)
