"""FLUX.1-Kontext through diffusers' FluxKontextPipeline: one source, distinguished from the target by its positions.

The instruction is read by T5 (512 tokens always: the model was trained with the padding in view) and, as one vector, by
CLIP; neither sees the picture. The transformer of FLUX.1-Kontext-dev is guidance-distilled and takes the
scale as input, 2.5 unless asked otherwise; true guidance (`cfg`) comes on top where it is switched on.

Kontext knows seventeen aspect ratios between 0.43 and 2.33. A picture is brought to the nearest, as its pipeline does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from hpedit.editors.adapter import ATTENTION, check_sources, finite_pictures, grid_size, tokens_grid
from hpedit.editors.guidance import Rule
from hpedit.editors.protocol import Conditioning, EncodedPrompt, Grid
from hpedit.editors.sizes import ImageAreas, check_aspect
from hpedit.editors.usual import UsualSampling
from hpedit.errors import HPEditError
from hpedit.records import Case

NEGATIVE = " "
"""The empty instruction."""
GUIDANCE = 2.5
"""Embedded guidance by default: that of Kontext's model card."""
MOST_GUIDANCE = 20.0
TEXT_TOKENS = 512
"""Of T5. Padding is not masked, so a shorter text would be another model."""
USUAL_AREA = 1024 * 1024
"""px^2 of the preferred resolutions."""
MAX_ASPECT = 2.7
"""Longer side by shorter side. The widest preferred size has 2.33; beyond this one a picture would be squeezed by more
than a seventh."""


def kontext_size(area: int, image: Image.Image, multiple: int) -> tuple[int, int]:
    """(width, height) of about `area` px at the preferred aspect ratio that is nearest to the image's.

    At 1024^2 px these are the pipeline's preferred resolutions themselves.

    Args:
        area: px^2.
        image: The picture.
        multiple: Sides are rounded to it, px.

    Raises:
        HPEditError: a picture so narrow that it would be squeezed.
    """
    # Not at the top: transformers would talk about torchvision whenever any editor is loaded.
    from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS

    check_aspect(image, MAX_ASPECT)
    aspect = image.width / image.height
    _, width, height = min((abs(aspect - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
    scale = math.sqrt(area / USUAL_AREA)
    return max(round(width * scale / multiple), 1) * multiple, max(round(height * scale / multiple), 1) * multiple


class FluxKontext:
    """A FluxKontextPipeline; see `Adapter`."""

    RULE: ClassVar[Rule] = "plain"
    CONDITION_AREA: ClassVar[int | None] = 0
    TARGETS: ClassVar[tuple[str, ...]] = ATTENTION
    ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    USUAL: ClassVar[UsualSampling] = UsualSampling(28, 1.0)

    def __init__(self, pipeline: Any, areas: ImageAreas, guidance: float | None = None) -> None:
        """Wrap a pipeline.

        Args:
            pipeline: A FluxKontextPipeline.
            areas: Image sizes; condition_area is 0.
            guidance: Embedded guidance; None = 2.5 where the transformer takes it.

        Raises:
            HPEditError: a guidance for a transformer without, or a condition area.
        """
        self.pipeline, self.areas = pipeline, areas
        distilled = pipeline.transformer.config.guidance_embeds
        if guidance is not None and not distilled:
            raise HPEditError("this transformer takes no embedded guidance", hint="leave guidance out; use cfg")
        if guidance is not None and not 0.0 <= guidance <= MOST_GUIDANCE:
            raise HPEditError(f"guidance is {guidance}", hint=f"a number from 0 to {MOST_GUIDANCE:g}; 2.5 is usual")
        if areas.condition_area:
            raise HPEditError("a condition_area was given", hint="leave it out: Kontext's text encoders see no picture")
        self._guidance = (GUIDANCE if guidance is None else guidance) if distilled else None

    @property
    def embedded_guidance(self) -> float | None:
        """The guidance scale that the transformer takes as input; None = it takes none."""
        return self._guidance

    def _size(self, area: int, image: Image.Image) -> tuple[int, int]:
        return kontext_size(area, image, 2 * self.pipeline.vae_scale_factor)

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`."""
        return self._size(self.areas.resolution**2, image)

    def encode(self, case: Case, *, negative: bool) -> Conditioning:
        """Encode one case; HPEditError if it has more than one source."""
        check_sources(case, 1, self.pipeline)
        prompt = self._prompt(case.instruction)
        size = self._size(self.areas.source_area, case.source)
        source = self._pack(self._pixels([case.source], size).to(prompt.embeds))
        grids = (tokens_grid(self.pipeline, self.output_size(case.source)), tokens_grid(self.pipeline, size))
        return Conditioning(prompt, source, grids, self._prompt(NEGATIVE) if negative else None)

    def _prompt(self, text: str) -> EncodedPrompt:
        device = self.pipeline.transformer.device
        embeds, pooled, _ = self.pipeline.encode_prompt(text, device=device, max_sequence_length=TEXT_TOKENS)
        return EncodedPrompt(embeds, torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device), pooled)

    def _pixels(self, images: Sequence[Image.Image], size: tuple[int, int]) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        width, height = size
        values: Tensor = self.pipeline.image_processor.preprocess(list(images), height, width)
        return values

    def _pack(self, values: Tensor) -> Tensor:
        """(B, M, C) normalised latents of pixels (B, 3, H, W), packed 2 x 2."""
        encoded = self.pipeline._encode_vae_image(values, None)
        packed: Tensor = self.pipeline._pack_latents(encoded, len(encoded), *encoded.shape[1:])
        return packed

    def forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, grids: Sequence[Grid]) -> Tensor:
        """One forward of the transformer."""
        guidance = None if self._guidance is None else torch.full([len(x)], self._guidance, device=x.device)
        output: Tensor = self.pipeline.transformer(
            hidden_states=x,
            timestep=timestep,
            guidance=guidance,
            pooled_projections=prompt.pooled,
            encoder_hidden_states=prompt.embeds,
            txt_ids=torch.zeros(prompt.embeds.shape[1], 3, device=x.device, dtype=prompt.embeds.dtype),
            img_ids=self._positions(grids, x),
            return_dict=False,
        )[0]
        return output

    def _positions(self, grids: Sequence[Grid], like: Tensor) -> Tensor:
        """(N + M, 3): which picture, row, column. The target is picture 0, the source 1."""
        ids = [
            self.pipeline._prepare_latent_image_ids(1, height, width, like.device, like.dtype)
            for height, width in grids
        ]
        for number, of_picture in enumerate(ids):
            of_picture[:, 0] = number
        return torch.cat(ids)

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32 of images of one size."""
        vae = self.pipeline.vae
        return self._pack(self._pixels(images, self.output_size(images[0])).to(vae.device, vae.dtype)).float()

    def decode(self, latents: Tensor, grid: Grid) -> list[Image.Image]:
        """RGB images of clean latents (B, N, C), lossless."""
        pipe, vae = self.pipeline, self.pipeline.vae
        unpacked = pipe._unpack_latents(latents, *grid_size(pipe, grid), pipe.vae_scale_factor).to(vae.dtype)
        values = vae.decode(unpacked / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        return finite_pictures(pipe, values)
