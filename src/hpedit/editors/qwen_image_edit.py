"""Qwen-Image-Edit (the first one) through diffusers' QwenImageEditPipeline: one source.

It differs from its successors in three ways: its prompt holds one picture without a number, text encoder and VAE see
that picture at the same size, and so `condition_area` follows `source_area` by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from hpedit.editors import qwen_image
from hpedit.editors.adapter import ATTENTION, check_sources, no_guidance, tokens_grid
from hpedit.editors.guidance import Rule
from hpedit.editors.protocol import Conditioning, EncodedPrompt, Grid
from hpedit.editors.sizes import ImageAreas, dimensions
from hpedit.records import Case


class QwenEdit:
    """A QwenImageEditPipeline; see `Adapter`."""

    RULE: ClassVar[Rule] = "rescaled"
    CONDITION_AREA: ClassVar[int | None] = None
    TARGETS: ClassVar[tuple[str, ...]] = ATTENTION
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    embedded_guidance: None = None

    def __init__(self, pipeline: Any, areas: ImageAreas, guidance: float | None = None) -> None:
        no_guidance(pipeline, guidance)
        self.pipeline, self.areas = pipeline, areas

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`."""
        return dimensions(self.areas.resolution**2, image)

    def encode(self, case: Case, *, negative: bool) -> Conditioning:
        """Encode one case; HPEditError if it has more than one source."""
        check_sources(case, 1, self.pipeline)
        pipe, image = self.pipeline, case.source
        width, height = dimensions(self.areas.condition_area, image)
        seen = pipe.image_processor.resize(image, height, width)
        prompt = qwen_image.encode_prompt(pipe, case.instruction, seen)
        size = dimensions(self.areas.source_area, image)
        source = qwen_image.encode_picture(pipe, image, size, prompt.embeds.dtype)
        grids = (tokens_grid(pipe, self.output_size(image)), tokens_grid(pipe, size))
        unwanted = qwen_image.encode_prompt(pipe, qwen_image.NEGATIVE, seen) if negative else None
        return Conditioning(prompt, source, grids, unwanted)

    def forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
        """One forward of the transformer."""
        return qwen_image.forward(self.pipeline, x, timestep, prompt, grids)

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32 of images of one size."""
        return qwen_image.latents(self.pipeline, images, self.output_size(images[0]))

    def decode(self, latents: Tensor, grid: Grid) -> list[Image.Image]:
        """RGB images of clean latents (B, N, C), lossless."""
        return qwen_image.decode(self.pipeline, latents, grid)
