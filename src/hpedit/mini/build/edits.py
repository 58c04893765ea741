"""Real edits for the judge's second stage.

They are what the base editor makes of fresh scenes, and spoiled edits sent through the VAE, whose traces a judge that
saw drawn pictures alone would take for flaws.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from hpedit.mini.build.editor import Codec, EditorTrainer
from hpedit.mini.build.samples import Sample, maybe_injected, synthetic, to_sample, varied_tiles
from hpedit.mini.build.spoil import degraded
from hpedit.mini.build.vae import two_dimensional
from hpedit.mini.oracle import mark
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import Scene, make_scene
from hpedit.tasks import TASK_IDS

STEPS = 8
"""Euler steps of an edit, as many as the demo uses."""
CHUNK = 128
"""Scenes edited at a time; each chunk has its own noise seed, so another size gives other edits."""
PAIRED_SHARE = 0.8
"""Share of the batches of a task in which an edit of the editor stands beside a degraded version of itself."""


def _scene(index: int, seed: int) -> Scene:
    rng = np.random.default_rng((seed, 55, index))
    tiles = embedded_tiles("pretrain") if index % 16 < 8 else varied_tiles(rng, 1)
    return make_scene(TASK_IDS[index % 8], tiles, rng)


def editor_edits(pipeline: QwenImageEditPlusPipeline, folder: Path, count: int, seed: int) -> list[Sample]:
    """The base editor's edits of `count` fresh scenes with the oracle's scores, kept in `folder` for the next call."""
    file = folder / f"edits-{count}-{seed}.safetensors"
    scenes = [_scene(index, seed) for index in range(count)]
    if file.exists():
        pixels = load_file(file)["edits"].numpy()
    else:
        pixels = _edit(pipeline, scenes, seed)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"edits": torch.from_numpy(pixels)}, file)
    return [to_sample(scene, edit.astype(np.float32) / 255) for scene, edit in zip(scenes, pixels, strict=True)]


@torch.no_grad()
def _edit(pipeline: QwenImageEditPlusPipeline, scenes: Sequence[Scene], seed: int) -> NDArray[np.uint8]:
    codec, trainer = Codec(pipeline.vae), EditorTrainer(pipeline)
    pipeline.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=0.5)
    sigmas = pipeline.scheduler.sigmas.clone()
    found = []
    with two_dimensional():
        for start in range(0, len(scenes), CHUNK):
            part = scenes[start : start + CHUNK]
            sources = np.stack([scene.source for scene in part])
            words = [scene.instruction for scene in part]
            tokens = trainer.sample(words, sources, codec.encode(sources), sigmas, seed * 10**6 + start)
            found.append((codec.decode(tokens) * 255).round().astype(np.uint8))
    return np.concatenate(found)


def mixed_batches(edits: Sequence[Sample], codec: Codec, per_task: int, seed: int, step: int) -> list[Sample]:
    """A batch of the second stage, `per_task` samples of each task in turn; a function of its arguments.

    Half of each task are the editor's edits, one of them at times a degraded version of another, so that what makes the
    difference stands in one batch; half are fresh spoiled ones, at every other step sent through the VAE.
    `edits` holds the tasks in turn, as `editor_edits` returns them.
    """
    rng = np.random.default_rng((seed, 66, step))
    half = per_task // 2
    spoiled = synthetic(step + 10**6, per_task - half, seed)
    if step % 2:
        with two_dimensional():
            pixels = codec.decode(codec.encode(np.stack([sample.edit for sample in spoiled])))
        spoiled = [_with_edit(sample, edit) for sample, edit in zip(spoiled, pixels, strict=True)]
    batch = []
    for number, task in enumerate(TASK_IDS):
        own = [edits[i] for i in rng.integers(len(edits) // 8, size=half) * 8 + number]
        if rng.random() < PAIRED_SHARE:
            own[-1] = _with_edit(own[0], degraded(own[0].edit, rng))
        batch += [maybe_injected(sample, rng) for sample in own] + [s for s in spoiled if s.task == task]
    return batch


def _with_edit(sample: Sample, edit: NDArray[np.float32]) -> Sample:
    score = mark(sample.source, sample.target, sample.region, edit).score
    return Sample(sample.task, sample.instruction, sample.source, sample.target, sample.region, edit, score)
