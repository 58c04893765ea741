"""The Qwen-Image-Edit family through diffusers: QwenImageEditPipeline, and QwenImageEditPlusPipeline of 2509 and 2511.

| | prompt | text encoder sees a source at | sources |
|---|---|---|---|
| Qwen-Image-Edit | one picture without a number | the VAE's size: `condition_area` follows `source_area` | 1 |
| -2509, -2511 and the mini editor | numbered pictures | 384 x 384 px | 1 to 3 |

The VAE encodes a source at 1024 x 1024 px in the pipelines and at the output's size here; an edit has the aspect ratio
of the first source. The mini checkpoint and Qwen/Qwen-Image-Edit-2509 differ by the path alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE
from PIL import Image
from torch import Tensor

from hpedit.editors.adapter import ATTENTION, check_sources, finite_pictures, grid_size, no_guidance, tokens_grid
from hpedit.editors.guidance import Rule
from hpedit.editors.protocol import Conditioning, EncodedPrompt, Grid
from hpedit.editors.sizes import ImageAreas, dimensions
from hpedit.editors.usual import UsualSampling
from hpedit.records import Case

NEGATIVE = " "
"""The empty instruction of Qwen-Image: its pipelines ask for one that is not quite empty."""


class QwenEdit:
    """A QwenImageEditPipeline; see `Adapter`."""

    RULE: ClassVar[Rule] = "rescaled"
    CONDITION_AREA: ClassVar[int | None] = None
    TARGETS: ClassVar[tuple[str, ...]] = ATTENTION
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    USUAL: ClassVar[UsualSampling] = UsualSampling(40, 4.0)
    MOST_SOURCES: ClassVar[int] = 1
    embedded_guidance: None = None

    def __init__(self, pipeline: Any, areas: ImageAreas, guidance: float | None = None) -> None:
        no_guidance(pipeline, guidance)
        self.pipeline, self.areas = pipeline, areas

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`, the first source."""
        return dimensions(self.areas.resolution**2, image)

    def encode(self, case: Case, *, negative: bool) -> Conditioning:
        """Encode one case; HPEditError if it has more sources than the model takes."""
        check_sources(case, self.MOST_SOURCES, self.pipeline)
        images = case.sources
        seen = self._seen_by_text_encoder([self._resized(image) for image in images])
        prompt = self._prompt(case.instruction, seen)
        sizes = [dimensions(self.areas.source_area, image) for image in images]
        sources = [self._picture(image, size, prompt) for image, size in zip(images, sizes, strict=True)]
        grids = tuple(tokens_grid(self.pipeline, size) for size in (self.output_size(images[0]), *sizes))
        unwanted = self._prompt(NEGATIVE, seen) if negative else None
        return Conditioning(prompt, torch.cat(sources, dim=1), grids, unwanted)

    def _resized(self, image: Image.Image) -> Any:
        width, height = dimensions(self.areas.condition_area, image)
        return self.pipeline.image_processor.resize(image, height, width)

    def _seen_by_text_encoder(self, images: list[Any]) -> Any:
        """The pictures in the form in which the pipeline takes them."""
        return images[0]

    def _prompt(self, instruction: str, images: Any) -> EncodedPrompt:
        """The instruction as the text encoder reads it beside the pictures: a batch of one, unpadded."""
        device = self.pipeline.transformer.device
        embeds, mask = self.pipeline.encode_prompt(prompt=instruction, image=images, device=device)
        if mask is None:  # the pipeline's way of saying that nothing is padded
            mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        return EncodedPrompt(embeds, mask.bool())

    def _picture(self, image: Image.Image, size: tuple[int, int], prompt: EncodedPrompt) -> Tensor:
        """(1, M, C) packed latents of one picture at (width, height) px."""
        return self._pack(self._pixels([image], size).to(self.pipeline.vae.device, prompt.embeds.dtype))

    def _pixels(self, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
        """(B, 3, 1, H, W) in [-1, 1]: pictures as films of one frame."""
        width, height = size
        values: Tensor = self.pipeline.image_processor.preprocess(list(images), height, width).unsqueeze(2)
        return values

    def _pack(self, values: Tensor) -> Tensor:
        """(B, M, C) normalised latents of pixels (B, 3, 1, H, W), packed 2 x 2."""
        encoded = self.pipeline._encode_vae_image(values, None)
        packed: Tensor = self.pipeline._pack_latents(encoded, len(encoded), encoded.shape[1], *encoded.shape[3:])
        return packed

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32 of images of one size: the x0 of supervised training."""
        vae = self.pipeline.vae
        return self._pack(self._pixels(images, self.output_size(images[0])).to(vae.device, vae.dtype)).float()

    def forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
        """One forward of the transformer."""
        shapes = [(1, height, width) for height, width in grids]
        output: Tensor = self.pipeline.transformer(
            hidden_states=x, timestep=timestep, guidance=None,
            encoder_hidden_states_mask=prompt.mask if prompt.padded else None, encoder_hidden_states=prompt.embeds,
            img_shapes=[shapes] * len(x), return_dict=False,
        )[0]  # fmt: skip
        return output

    def decode(self, latents: Tensor, grid: Grid) -> list[Image.Image]:
        """RGB images of clean latents (B, N, C), lossless."""
        pipe, vae = self.pipeline, self.pipeline.vae
        unpacked = pipe._unpack_latents(latents, *grid_size(pipe, grid), pipe.vae_scale_factor).to(vae.dtype)
        mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(unpacked)
        # The pipeline divides by the reciprocal; multiplying by the deviation differs in the last bit.
        reciprocal = 1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(unpacked)
        values = vae.decode(unpacked / reciprocal + mean, return_dict=False)[0][:, :, 0]
        return finite_pictures(pipe, values)


class QwenEditPlus(QwenEdit):
    """A QwenImageEditPlusPipeline; see `Adapter`."""

    CONDITION_AREA: ClassVar[int | None] = CONDITION_IMAGE_SIZE
    MOST_SOURCES: ClassVar[int] = 3
    """The model card of 2509: one to three pictures."""

    def _seen_by_text_encoder(self, images: list[Any]) -> Any:
        return images
