"""What the two pipelines of the Qwen-Image-Edit family share: forward, source and target latents, decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hpedit.editors.adapter import grid_size
from hpedit.editors.protocol import EncodedPrompt, Grid

NEGATIVE = " "
"""The empty instruction of Qwen-Image: its pipelines call for one that is not quite empty."""


def encode_prompt(pipeline: Any, instruction: str, images: Any) -> EncodedPrompt:
    """The instruction as the text encoder reads it beside the pictures: a batch of one, unpadded."""
    device = pipeline.transformer.device
    embeds, mask = pipeline.encode_prompt(prompt=instruction, image=images, device=device)
    if mask is None:  # the pipeline's way of saying that nothing is padded
        mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    return EncodedPrompt(embeds, mask.bool())


def encode_picture(pipeline: Any, image: Image.Image, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """(1, M, C) packed latents of one picture at (width, height) px."""
    return pack(pipeline, pixels(pipeline, [image], size).to(pipeline.vae.device, dtype))


def pixels(pipeline: Any, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
    """(B, 3, 1, H, W) in [-1, 1]: pictures as films of one frame."""
    width, height = size
    values: Tensor = pipeline.image_processor.preprocess(list(images), height, width).unsqueeze(2)
    return values


def pack(pipeline: Any, values: Tensor) -> Tensor:
    """(B, M, C) normalised latents of pixels (B, 3, 1, H, W), packed 2 x 2."""
    encoded = pipeline._encode_vae_image(values, None)
    packed: Tensor = pipeline._pack_latents(encoded, len(encoded), encoded.shape[1], *encoded.shape[3:])
    return packed


def latents(pipeline: Any, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
    """(B, N, C) float32: the x0 of supervised training."""
    return pack(pipeline, pixels(pipeline, images, size).to(pipeline.vae.device, pipeline.vae.dtype)).float()


def forward(pipeline: Any, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
    """One forward of the transformer; see `Adapter.forward`."""
    shapes = [(1, height, width) for height, width in grids]
    output: Tensor = pipeline.transformer(
        hidden_states=x,
        timestep=timestep,
        guidance=None,
        encoder_hidden_states_mask=prompt.mask if prompt.padded else None,
        encoder_hidden_states=prompt.embeds,
        img_shapes=[shapes] * len(x),
        return_dict=False,
    )[0]
    return output


def decode(pipeline: Any, packed: Tensor, grid: Grid) -> list[Image.Image]:
    """RGB images of clean latents (B, N, C), lossless."""
    vae = pipeline.vae
    unpacked = pipeline._unpack_latents(packed, *grid_size(pipeline, grid), pipeline.vae_scale_factor).to(vae.dtype)
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(unpacked)
    # The pipeline divides by the reciprocal; multiplying by the deviation differs in the last bit.
    reciprocal = 1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(unpacked)
    values = vae.decode(unpacked / reciprocal + mean, return_dict=False)[0][:, :, 0]
    images: list[Image.Image] = pipeline.image_processor.postprocess(values, output_type="pil")
    return images
