"""Adapter: what differs between diffusers pipelines; `hpedit.editors.diffusers_editor` does the rest for all of them.

An adapter computes every number by its pipeline's own functions: prompt, source latents, noise, decoding. Loop, batch
and cache are ours. In float32 an ODE rollout therefore equals `pipe(...)` pixel for pixel; a bf16
pipeline rounds its latents to bf16 after every step, which we do not.

    conditioning = adapter.encode(case, negative=False)
    x = torch.cat([latents, conditioning.source_latents], dim=1)
    v = adapter.forward(x, timestep, conditioning.prompt, conditioning.grids)[:, :N]
    images = adapter.decode(latents, conditioning.grids[0])

A new model is a new file with such a class and a line in `hpedit.editors.load.ADAPTERS`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_shift, retrieve_timesteps
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from hpedit.editors.guidance import Rule
from hpedit.editors.protocol import Conditioning, EncodedPrompt, Grid
from hpedit.editors.sizes import ImageAreas
from hpedit.editors.usual import UsualSampling
from hpedit.errors import HPEditError
from hpedit.records import Case

FEWEST = 2
"""Steps: with one, the terminal shift of Qwen-Image's schedule divides by zero."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""The projections of all attention layers, of Flux's single-stream blocks too: what public edit recipes adapt."""


class Adapter(Protocol):
    """One pipeline, on its device, and the image sizes it works at."""

    RULE: ClassVar[Rule]
    """How guidance combines its two velocities."""
    CONDITION_AREA: ClassVar[int | None]
    """px^2 that the text encoder sees of a source, by default; None = as many as the VAE, 0 = it sees none."""
    TARGETS: ClassVar[tuple[str, ...]]
    """The LoRA's targets, by default."""
    ENCODERS: ClassVar[tuple[str, ...]]
    """Names of the pipeline's text encoders."""
    USUAL: ClassVar[UsualSampling]
    """Steps and guidance of the family's model cards."""

    pipeline: Any
    areas: ImageAreas

    def __init__(self, pipeline: Any, areas: ImageAreas, guidance: float | None = None) -> None:
        """Take a pipeline; HPEditError if sizes or embedded guidance don't fit it."""

    @property
    def embedded_guidance(self) -> float | None:
        """The guidance scale that a distilled transformer takes as input; None = it takes none."""

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`."""

    def encode(self, case: Case, *, negative: bool) -> Conditioning:
        """Encode one case, with the empty instruction too where `negative`."""

    def forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
        """One forward of the transformer.

        Args:
            x: (B, N + M, C) target and source tokens, in the model's dtype.
            timestep: (B,) noise level in the model's dtype.
            prompt: Of B rows.
            grids: Of the target and each source.

        Returns:
            (B, N + M, C), of which the first N are the velocity.
        """

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32: images of one size, encoded at the editor's output size."""

    def decode(self, latents: Tensor, grid: Grid) -> list[Image.Image]:
        """RGB images of clean latents (B, N, C), lossless."""


def finite_pictures(pipeline: Any, values: Tensor) -> list[Image.Image]:
    """RGB images of a VAE's output (B, 3, H, W) in -1 to 1; HPEditError if one is not finite: it would be black."""
    if not torch.isfinite(values).all():
        raise HPEditError(
            "a picture that was decoded is not finite (NaN)",
            hint="the LoRA or the weights are damaged, or the dtype overflows: take bfloat16 or float32",
        )
    images: list[Image.Image] = pipeline.image_processor.postprocess(values, output_type="pil")
    return images


def tokens_grid(pipeline: Any, size: tuple[int, int]) -> Grid:
    """Tokens down and across of a picture of (width, height) px."""
    patch = 2 * pipeline.vae_scale_factor
    return size[1] // patch, size[0] // patch


def grid_size(pipeline: Any, grid: Grid) -> tuple[int, int]:
    """(height, width) px of a picture of that many tokens."""
    patch = 2 * pipeline.vae_scale_factor
    return grid[0] * patch, grid[1] * patch


def initial_noise(pipeline: Any, grid: Grid, seeds: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B, N, C) float32: what `pipe(generator=torch.Generator("cpu").manual_seed(seed))` starts from."""
    height, width = 2 * grid[0], 2 * grid[1]
    channels = pipeline.transformer.config.in_channels // 4
    shape, generators = (1, channels, height, width), (torch.Generator("cpu").manual_seed(seed) for seed in seeds)
    noise = [randn_tensor(shape, generator=one, device=device, dtype=dtype) for one in generators]
    packed: Tensor = pipeline._pack_latents(torch.cat(noise), len(seeds), channels, height, width)
    return packed.float()


def check_sources(case: Case, most: int, pipeline: Any) -> None:
    """HPEditError if the case has more sources than the pipeline takes."""
    if len(case.sources) > most:
        takes = "one" if most == 1 else f"at most {most}"
        raise HPEditError(
            f"case {case.id} has {len(case.sources)} source images, and {type(pipeline).__name__} takes {takes}",
            hint="a model of Qwen-Image-Edit-2509 or later takes up to three",
        )


def no_guidance(pipeline: Any, guidance: float | None) -> None:
    """HPEditError if the transformer is guidance-distilled, or embedded guidance was asked for, in a family without."""
    if pipeline.transformer.config.guidance_embeds:
        raise HPEditError(f"guidance-distilled transformers of {type(pipeline).__name__} are not supported")
    if guidance is not None:
        raise HPEditError(
            f"{type(pipeline).__name__} takes no embedded guidance", hint="leave guidance out; cfg is what it has"
        )


def noise_levels(scheduler: Any, steps: int, tokens: int) -> Tensor:
    """(steps + 1,) float32 on the CPU, from 1 to 0: the pipeline's noise schedule, shift by size and terminal included.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler; it is left as it is.
        steps: Sampling steps, at least 2.
        tokens: Of the target.

    Raises:
        HPEditError: too few steps.
    """
    if steps < FEWEST:
        raise HPEditError(f"{steps} steps are too few", hint=f"this model's schedule needs at least {FEWEST}")
    # A copy: set_timesteps leaves its result in the scheduler, which is the pipeline's own.
    scheduler = copy.deepcopy(scheduler)
    config = scheduler.config
    usual = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    shift = calculate_shift(tokens, *(config.get(name, value) for name, value in usual.items()))
    retrieve_timesteps(scheduler, steps, "cpu", sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    levels: Tensor = scheduler.sigmas
    return levels
