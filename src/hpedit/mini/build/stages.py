"""The stages of `hpedit mini build` with the sizes the shipped weights were built with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline

from hpedit.errors import HPEditError
from hpedit.mini.build import editor, judge, vae
from hpedit.mini.build.edits import edited_scenes, group_batch, side_by_side
from hpedit.mini.build.export import export_editor, export_judge
from hpedit.progress import quiet_loading

VAE_STEPS = 9_000
EDITOR_STEPS = 30_000
EDITOR_SCENES = 40_000
JUDGE_FIRST_STEPS = 3_000
JUDGE_STEPS = 5_000
JUDGE_SCENES = 4_096
JUDGE_HELD_OUT = 80


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
    """Train the judge into out/judge: to imagine targets, then to rank the base editor's edits and drawn ones."""
    _threads()
    _need(out / "editor", "editor")
    with quiet_loading():
        pipeline = QwenImageEditPlusPipeline.from_pretrained(out / "editor", torch_dtype=torch.float32)
    held_out = side_by_side(edited_scenes(pipeline, out / "work-judge", JUDGE_HELD_OUT, seed + 1))
    codec = editor.Codec(pipeline.vae)
    trainer = judge.new_trainer(seed)
    judge.learn_to_imagine(trainer, out / "work-judge-0", seed, JUDGE_FIRST_STEPS)
    edited = edited_scenes(pipeline, out / "work-judge", JUDGE_SCENES, seed)
    judge.learn_to_rank(
        trainer,
        out / "work-judge-1",
        seed,
        JUDGE_STEPS,
        lambda step: group_batch(edited, codec, seed, step),
        held_out,
    )
    export_judge(trainer.eval().model, trainer.tokenizer, out / "judge")


def _need(folder: Path, stage: str) -> None:
    if not folder.is_dir():
        raise HPEditError(f"{folder} is missing", hint=f"build it first: hpedit mini build --stage {stage}")


def _threads() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


STAGES: dict[str, Callable[[Path, int], None]] = {"vae": build_vae, "editor": build_editor, "judge": build_judge}
