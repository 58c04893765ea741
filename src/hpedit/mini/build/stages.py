"""The stages of `hpedit mini build` with the sizes the shipped weights were built with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline

from hpedit.errors import HPEditError
from hpedit.mini.build import editor, judge, vae
from hpedit.mini.build.edits import editor_edits, mixed_batches
from hpedit.mini.build.export import export_editor, export_judge
from hpedit.mini.build.judge import JudgeTrainer
from hpedit.mini.build.samples import synthetic
from hpedit.progress import quiet_loading

VAE_STEPS = 9_000
EDITOR_STEPS = 12_500
EDITOR_SCENES = 40_000
JUDGE_STEPS = 3_000
JUDGE_EDITS = 16_000
JUDGE_HELD_OUT = 512
JUDGE_SECOND_STEPS = 2_500
HELD_OUT_STEP = 10**9
"""Data steps from here on are held out: no training reaches them."""


def build_vae(out: Path, seed: int) -> None:
    """Train the VAE into out/vae."""
    _threads()
    vae.build(out / "work-vae", seed, VAE_STEPS).save_pretrained(out / "vae")


def build_editor(out: Path, seed: int) -> None:
    """Train the base editor into out/editor."""
    _threads()
    _need(out / "vae", "vae")
    autoencoder = AutoencoderKLQwenImage.from_pretrained(out / "vae")
    export_editor(editor.build(autoencoder, out / "work-editor", seed, EDITOR_STEPS, EDITOR_SCENES), out / "editor")


def build_judge(out: Path, seed: int) -> None:
    """Train the judge into out/judge: on spoiled targets, then on the base editor's own edits as well."""
    _threads()
    _need(out / "editor", "editor")
    held_out = [sample for i in range(8) for sample in synthetic(HELD_OUT_STEP + i, 8, seed)]
    first = judge.build(out / "work-judge", seed, JUDGE_STEPS, lambda step: synthetic(step, 8, seed), held_out)
    finished = second_stage(first, out, seed, JUDGE_SECOND_STEPS)
    export_judge(finished.model, finished.tokenizer, out / "judge")


def second_stage(first: JudgeTrainer, out: Path, seed: int, steps: int) -> JudgeTrainer:
    """Go on with the judge on a mixture with the base editor's edits.

    The held-out figures are on the editor's edits of fresh scenes alone.
    """
    with quiet_loading():
        pipeline = QwenImageEditPlusPipeline.from_pretrained(out / "editor", torch_dtype=torch.float32)
    edits = editor_edits(pipeline, out / "work-judge", JUDGE_EDITS, seed)
    held_out = editor_edits(pipeline, out / "work-judge", JUDGE_HELD_OUT, seed + 1)
    codec = editor.Codec(pipeline.vae)
    return judge.build(
        out / "work-judge-2",
        seed,
        steps,
        lambda step: mixed_batches(edits, codec, 8, seed, step),
        held_out,
        first,
        peak=1e-3,
    )


def _need(folder: Path, stage: str) -> None:
    if not folder.is_dir():
        raise HPEditError(f"{folder} is missing", hint=f"build it first: hpedit mini build --stage {stage}")


def _threads() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


STAGES: dict[str, Callable[[Path, int], None]] = {"vae": build_vae, "editor": build_editor, "judge": build_judge}
