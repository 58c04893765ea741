"""Qwen-Image-Edit-2509, -2511 and the mini editor through diffusers' QwenImageEditPlusPipeline: one to three sources.

The text encoder sees each source at 384 x 384 px, the VAE at 1024 x 1024 in the pipeline and at the output's size here;
an edit has the aspect ratio of the first source. The mini checkpoint and Qwen/Qwen-Image-Edit-2509 differ by the path
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE
from PIL import Image
from torch import Tensor

from hpedit.editors import qwen_image
from hpedit.editors.adapter import ATTENTION, check_sources, no_guidance, tokens_grid
from hpedit.editors.guidance import Rule
from hpedit.editors.protocol import Conditioning, EncodedPrompt, Grid
from hpedit.editors.sizes import ImageAreas, dimensions
from hpedit.records import Case

MOST_SOURCES = 3
"""The model card of 2509: one to three pictures."""


class QwenEditPlus:
    """A QwenImageEditPlusPipeline; see `Adapter`."""

    RULE: ClassVar[Rule] = "rescaled"
    CONDITION_AREA: ClassVar[int | None] = CONDITION_IMAGE_SIZE
    TARGETS: ClassVar[tuple[str, ...]] = ATTENTION
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    embedded_guidance: None = None

    def __init__(self, pipeline: Any, areas: ImageAreas, guidance: float | None = None) -> None:
        no_guidance(pipeline, guidance)
        self.pipeline, self.areas = pipeline, areas

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`, the first source."""
        return dimensions(self.areas.resolution**2, image)

    def encode(self, case: Case, *, negative: bool) -> Conditioning:
        """Encode one case; HPEditError if it has more than three sources."""
        check_sources(case, MOST_SOURCES, self.pipeline)
        pipe, images = self.pipeline, case.sources
        seen = [self._seen(image) for image in images]
        prompt = qwen_image.encode_prompt(pipe, case.instruction, seen)
        sizes = [dimensions(self.areas.source_area, image) for image in images]
        sources = [
            qwen_image.encode_picture(pipe, image, size, prompt.embeds.dtype)
            for image, size in zip(images, sizes, strict=True)
        ]
        grids = tuple(tokens_grid(pipe, size) for size in (self.output_size(images[0]), *sizes))
        unwanted = qwen_image.encode_prompt(pipe, qwen_image.NEGATIVE, seen) if negative else None
        return Conditioning(prompt, torch.cat(sources, dim=1), grids, unwanted)

    def _seen(self, image: Image.Image) -> Any:
        width, height = dimensions(self.areas.condition_area, image)
        return self.pipeline.image_processor.resize(image, height, width)

    def forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
        """One forward of the transformer."""
        return qwen_image.forward(self.pipeline, x, timestep, prompt, grids)

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32 of images of one size."""
        return qwen_image.latents(self.pipeline, images, self.output_size(images[0]))

    def decode(self, latents: Tensor, grid: Grid) -> list[Image.Image]:
        """RGB images of clean latents (B, N, C), lossless."""
        return qwen_image.decode(self.pipeline, latents, grid)
