"""One iteration with the real architecture of Qwen-Image-Edit-2509 and random weights, on one GPU.

    python benchmarks/rl_iteration.py --full-architecture [--groups 2] [--micro-batch 8] [--compile] --json OUT
    python benchmarks/rl_iteration.py --full-architecture --smoke     # one narrow layer on a CPU: does it run?

60 layers of 24 heads of 128, joint width 3584, bf16 with a float32 LoRA of rank 32, 512 px (1,024 target and 1,024
source tokens beside 230 of text and its pictures), groups of 16, gradient checkpointing. Text and source are random
tensors: encoders run once a case, ahead of training. The judge is a measure of pixels, for it runs on other machines.
Of model FLOPs, what gradient checkpointing computes again counts as nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline, QwenImageTransformer2DModel
from PIL import Image
from rl_meters import counted_rows, flops_of, product_ceiling, watched_memory

from hpedit.config.recipe import Recipe
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.editors.load import wrap_pipeline
from hpedit.editors.placement import compile_blocks
from hpedit.editors.protocol import Conditioning, EncodedPrompt
from hpedit.editors.sizes import ImageAreas
from hpedit.mini import architecture as mini
from hpedit.mini.tokenizer import build_tokenizer
from hpedit.records import Case, Score
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.online import Online
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.sampler import CaseSampler
from hpedit.seeds import generator

TEXT_TOKENS = 230
STD = 0.02


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the transformer and its input."""

    layers: int = 60
    heads: int = 24
    joint: int = 3584
    resolution: int = 512
    group_size: int = 16


SMOKE = Shape(layers=1, heads=2, joint=256, resolution=64, group_size=4)


class PixelScorer:
    """Scores how red an edit is."""

    fingerprint = "red"

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """0 to 5."""
        ids = edit_ids or [case.id for case in cases]
        red = [np.asarray(image, dtype=float)[..., 0].mean() / 51 for image in images]
        return [Score(name, self.fingerprint, float(value)) for name, value in zip(ids, red, strict=True)]


def build_transformer(shape: Shape) -> QwenImageTransformer2DModel:
    """On the current device, with whatever weights that gives."""
    return QwenImageTransformer2DModel(
        num_layers=shape.layers, num_attention_heads=shape.heads, joint_attention_dim=shape.joint
    )


def random_transformer(shape: Shape, device: torch.device, dtype: torch.dtype) -> QwenImageTransformer2DModel:
    """With normal weights, made on the device itself: 20 billion of them are 41 GB in bf16."""
    with torch.device("meta"):
        transformer = build_transformer(shape)
    frequencies = build_transformer(Shape(layers=0, heads=1, joint=8)).pos_embed  # no parameters, and not of a dtype
    transformer = transformer.to(dtype).to_empty(device=device)
    transformer.pos_embed = frequencies
    draws = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, STD, generator=draws)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return transformer


def build_editor(shape: Shape, device: torch.device, dtype: torch.dtype) -> DiffusersEditor:
    """The editor around it, with the real VAE's architecture; the miniature's text encoder only fills its place."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    pipeline = QwenImageEditPlusPipeline(
        scheduler=mini.build_scheduler(),
        vae=AutoencoderKLQwenImage().to(device, dtype),
        text_encoder=mini.build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        processor=mini.build_editor_processor(tokenizer),
        transformer=random_transformer(shape, device, dtype),
    )
    side = shape.resolution
    editor = wrap_pipeline(pipeline, ImageAreas(side, side * side, side * side), fingerprint="random")
    grid, channels = side // (pipeline.vae_scale_factor * 2), pipeline.transformer.config.in_channels

    def encode(cases: Sequence[Case]) -> Conditioning:
        draws = [generator(0, "conditioning", case.id) for case in cases]
        text = torch.stack([torch.randn(TEXT_TOKENS, shape.joint, generator=draw) for draw in draws])
        source = torch.stack([torch.randn(grid * grid, channels, generator=draw) for draw in draws])
        mask = torch.ones(len(cases), TEXT_TOKENS, dtype=torch.bool, device=device)
        return Conditioning(EncodedPrompt(text.to(device, dtype), mask), source.to(device, dtype), ((grid, grid),) * 2)

    editor.encode = encode  # type: ignore[method-assign]
    return editor


def row_flops(shape: Shape, tokens: int) -> tuple[float, float]:
    """Floating-point operations of one row, forward alone and with its backward; counted without computing."""
    side = int(tokens**0.5)
    with torch.device("meta"):
        transformer = build_transformer(shape).requires_grad_(False)
        inputs = {
            "hidden_states": torch.zeros(1, 2 * tokens, 64),
            "encoder_hidden_states": torch.zeros(1, TEXT_TOKENS, shape.joint),
            "timestep": torch.zeros(1),
            "img_shapes": [[(1, side, side)] * 2],
        }

        def plain() -> None:
            with torch.no_grad():
                transformer(**inputs)

        def trained() -> None:
            # The frozen weights need no gradient of their own: only the way back to the input is walked.
            noisy = inputs | {"hidden_states": inputs["hidden_states"].requires_grad_(True)}
            transformer(**noisy)[0].sum().backward()

        return float(flops_of(plain)), float(flops_of(trained))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """A warm-up and one measured iteration of ours."""
    shape = SMOKE if asked.smoke else Shape(layers=asked.layers)
    cuda = torch.cuda.is_available() and not asked.smoke
    device, dtype = torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if cuda else torch.float32
    editor = build_editor(shape, device, dtype)
    recipe = Recipe.model_validate(
        {
            "output": "unused", "cases": "unused", "scorer": "unused",
            "rollout": {
                "steps": 10, "window_start": (0, 5), "groups": asked.groups, "group_size": shape.group_size,
                "shared_noise": asked.shared_noise,
            },
            "train": {"micro_batch": asked.micro_batch, "checkpointing": "on"},
        }
    )  # fmt: skip
    editor.add_lora(recipe.lora, 0)
    editor.set_checkpointing(True)
    if asked.compile:
        compile_blocks(editor.pipeline.transformer)
    policy = LoraPolicy(editor, recipe.train)
    picture = Image.new("RGB", (shape.resolution,) * 2)
    cases = [Case(f"case-{i}", "color", "make it red", (picture,), f"photo-{i}") for i in range(2 * asked.groups)]
    context = UpdateContext(recipe, editor, policy, recomputes=True)
    online = Online(
        context, cases, Rewards({MAIN: PixelScorer()}, {MAIN: 1.0}), CaseSampler(len(cases), 0), SingleProcess()
    )
    began = time.perf_counter()
    online.iterate(0)
    first = time.perf_counter() - began
    memory: dict[str, int] = {}
    with counted_rows(editor.pipeline.transformer) as rows, watched_memory(memory):
        record = online.iterate(1)
    forward, trained = row_flops(shape, editor.initial_noise(editor.encode(cases[:1]), [0]).shape[1])
    ceiling = product_ceiling(dtype, device, side=8192 if cuda else 512)
    images = asked.groups * shape.group_size
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "shape": [shape.layers, shape.heads, shape.joint, shape.resolution, shape.group_size],
        "groups": asked.groups, "micro_batch": asked.micro_batch, "compile": asked.compile,
        "first_iteration_seconds": first,
        "seconds_per_image": (record["seconds_rollout"] + record["seconds_score"] + record["seconds_train"]) / images,
        "forwards_per_image": rows.equivalents(recomputes=True) / images,
        "seconds": {name: record[f"seconds_{name}"] for name in ("rollout", "score", "train", "judge")},
        "tflop_per_row": [forward / 1e12, trained / 1e12], "ceiling_tflops": ceiling / 1e12,
        "mfu_rollout": rows.plain * forward / record["seconds_rollout"] / ceiling,
        "mfu_train": rows.trained * trained / record["seconds_train"] / ceiling,
        "peak_gb": memory["peak"] / 2**30,
        "ratio_deviation": record["ratio_deviation"],
    }  # fmt: skip


def run(asked: argparse.Namespace) -> None:
    """Measure, print, and write where asked."""
    text = json.dumps(measure(asked), indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text)
