"""The Qwen-Image-Edit family (2509 and later) through diffusers' QwenImageEditPlusPipeline.

Every number that the pipeline computes is computed here by the pipeline's own functions: prompt, source latents,
schedule, noise, decoding. What is ours is the loop, the batch and the cache. In float32 an ODE rollout therefore equals
`pipe(...)` pixel for pixel; a bf16 pipeline rounds its latents to bf16 after every step, which we do not.

The mini checkpoint and Qwen/Qwen-Image-Edit-2509 differ by the path alone. A folder may carry a `hpedit.json` with
"resolution" (px, side of a square output), "condition_area" (px^2 of what the text encoder sees) and "source_area"
(px^2 of what the VAE encodes); the pipeline has the last two as module constants of 384^2 and 1024^2. By default
sources are encoded at the output's own resolution, not at 1024 px: for a 512 px edit that spares three quarters of the
source tokens.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    calculate_dimensions,
    calculate_shift,
    retrieve_timesteps,
)
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from hpedit.editors import lora
from hpedit.editors.fingerprint import tensors_fingerprint
from hpedit.editors.locate import resolve_model
from hpedit.editors.protocol import Conditioning, Grid, LoRASettings
from hpedit.errors import HPEditError
from hpedit.quiet import quiet_loading
from hpedit.records import Case
from hpedit.store.atomic import atomic_write, read_json

SETTINGS_NAME = "hpedit.json"
DEFAULT_RESOLUTION = 512
"""px; the resolution at which public edit recipes train."""
MEMORY_CASES = 1024
"""Encoded cases kept in memory: some 2 MB each at full scale, the rest is on disk."""
MAX_ASPECT = 8.0
"""Longer side by shorter side; beyond it neither text encoder nor transformer has seen anything alike."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class ImageAreas:
    """The sizes at which an editor works; a picture keeps its aspect ratio, its sides are rounded to 32 px."""

    resolution: int
    """px: the output has resolution^2 pixels."""
    condition_area: int
    """px^2 of each source as the text encoder sees it."""
    source_area: int
    """px^2 of each source as the VAE encodes it."""

    @staticmethod
    def of(folder: Path, resolution: int | None) -> ImageAreas:
        """What the folder's hpedit.json says, or the defaults; another `resolution` takes the sources along."""
        path = folder / SETTINGS_NAME
        told = read_json(path) if path.is_file() else {}
        side = resolution or int(told.get("resolution", DEFAULT_RESOLUTION))
        as_built = side == told.get("resolution")
        return ImageAreas(
            side,
            int(told.get("condition_area", CONDITION_IMAGE_SIZE)),
            int(told["source_area"]) if as_built and "source_area" in told else side * side,
        )


class QwenImageEdit:
    """One QwenImageEditPlusPipeline behind the `TrainableEditor` protocol."""

    def __init__(
        self, pipeline: Any, areas: ImageAreas, *, fingerprint: str | None = None, cache: Path | None = None
    ) -> None:
        """Wrap a pipeline that is already on its device.

        Args:
            pipeline: A QwenImageEditPlusPipeline. Its weights are frozen here.
            areas: Image sizes.
            fingerprint: Names the weights; None hashes them.
            cache: Folder of encoded cases, shared by any number of models; None keeps them in memory alone.
        """
        self.pipeline = pipeline
        self.areas = areas
        self._cache = cache
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()
        self._lora_off = False
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
            module.eval().requires_grad_(False)
        if pipeline.transformer.config.guidance_embeds:
            raise HPEditError("guidance-distilled transformers are not supported")
        weights = fingerprint or tensors_fingerprint(
            pipeline.transformer.state_dict(), pipeline.vae.state_dict(), pipeline.text_encoder.state_dict()
        )
        dtype = str(self.dtype).removeprefix("torch.")
        self._base_fingerprint = f"{weights}/{dtype}/{areas.resolution}.{areas.condition_area}.{areas.source_area}"

    @classmethod
    def load(
        cls,
        model: str,
        revision: str | None = None,
        dtype: str = "float32",
        resolution: int | None = None,
        device: str = "auto",
        lora: Path | str | None = None,
        cache: Path | None = None,
    ) -> QwenImageEdit:
        """Load from a folder, a hub id, or "mini" (the weights inside the package).

        Args:
            model: Folder or hub id of a diffusers pipeline, or "mini".
            revision: Commit or tag on the hub; ignored for a folder.
            dtype: Key of `DTYPES`: of the frozen weights; latents, noise and the LoRA are float32 always.
            resolution: px, None = the checkpoint's own.
            device: "auto" (the first accelerator there is, else cpu) or a torch device.
            lora: Folder written by `save_lora`, to edit with a post-trained model.
            cache: Folder of encoded cases; None keeps them in memory alone.

        Raises:
            HPEditError: no such model, or one that is not a Qwen-Image-Edit-Plus pipeline.
        """
        folder, name = resolve_model(model, revision)
        if dtype not in DTYPES:
            raise HPEditError(f"unknown dtype {dtype!r}", hint=f"one of {', '.join(DTYPES)}")
        if device == "auto":
            found = torch.accelerator.current_accelerator(check_available=True)
            device = found.type if found else "cpu"
        try:
            with quiet_loading():
                pipeline = QwenImageEditPlusPipeline.from_pretrained(folder, dtype=DTYPES[dtype], local_files_only=True)
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise HPEditError(
                f"{model} cannot be loaded as a QwenImageEditPlusPipeline: {error}",
                hint="give the folder or hub id of a complete pipeline (it has a model_index.json)",
            ) from error
        editor = cls(pipeline.to(device), ImageAreas.of(folder, resolution), fingerprint=name, cache=cache)
        if lora is not None:
            editor.load_lora(Path(lora))
        return editor

    @property
    def dtype(self) -> torch.dtype:
        """Of the transformer's frozen weights and its input."""
        return self.pipeline.transformer.proj_out.weight.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.pipeline.transformer.proj_out.weight.device  # type: ignore[no-any-return]

    @property
    def fingerprint(self) -> str:
        """Weights, dtype and sizes, and the LoRA unless it is off or there is none."""
        parameters = self.lora_parameters()
        if self._lora_off or not parameters:
            return self._base_fingerprint
        alpha = self.pipeline.transformer.peft_config[lora.ADAPTER].lora_alpha
        return f"{self._base_fingerprint}+lora:{tensors_fingerprint(parameters)}:{alpha}"

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`."""
        return _dimensions(self.areas.resolution**2, image)

    @torch.no_grad()
    def encode(self, cases: Sequence[Case]) -> Conditioning:
        """Encode cases of one size (else HPEditError), each once: later calls read memory or the cache folder."""
        return Conditioning.cat([self._encode_cached(case) for case in cases])

    def _encode_cached(self, case: Case) -> Conditioning:
        key = hashlib.sha256(f"{self._base_fingerprint};{case.group_key}".encode()).hexdigest()
        if key not in self._memory:
            self._memory[key] = self._from_disk(key) or self._encode_new(case, key)
            if len(self._memory) > MEMORY_CASES:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def _path(self, key: str) -> Path | None:
        return self._cache / key[:2] / f"{key}.safetensors" if self._cache else None

    def _from_disk(self, key: str) -> Conditioning | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            return Conditioning.from_tensors(load_file(path)).to(self.device)
        except (SafetensorError, KeyError):
            # A cache entry is worth no error: a damaged one is encoded anew and replaced.
            return None

    def _encode_new(self, case: Case, key: str) -> Conditioning:
        conditioning = self._encode_one(case)
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, save({name: t.cpu() for name, t in conditioning.to_tensors().items()}))
        return conditioning

    def _encode_one(self, case: Case) -> Conditioning:
        pipe, images = self.pipeline, case.sources
        seen = [_dimensions(self.areas.condition_area, image) for image in images]
        sizes = [_dimensions(self.areas.source_area, image) for image in images]
        resize, preprocess = pipe.image_processor.resize, pipe.image_processor.preprocess
        embeds, mask = pipe.encode_prompt(
            prompt=case.instruction,
            image=[resize(image, height, width) for image, (width, height) in zip(images, seen, strict=True)],
            device=self.device,
        )
        if mask is None:  # the pipeline's way of saying that nothing is padded
            mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=self.device)
        pixels = [
            preprocess(image, height, width).unsqueeze(2) for image, (width, height) in zip(images, sizes, strict=True)
        ]
        # Given latents are passed through, which keeps this call from drawing noise.
        channels = pipe.transformer.config.in_channels // 4
        _, source_latents = pipe.prepare_latents(pixels, 1, channels, 32, 32, embeds.dtype, self.device, None, embeds)
        grids = (self._grid(self.output_size(images[0])), *(self._grid(size) for size in sizes))
        return Conditioning(embeds, mask.bool(), source_latents, grids)

    @torch.no_grad()
    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32: the x0 of supervised training, from images of one size, at the editor's output size."""
        pipe = self.pipeline
        width, height = self.output_size(images[0])
        pixels = pipe.image_processor.preprocess(list(images), height, width).unsqueeze(2)
        encoded = pipe._encode_vae_image(pixels.to(self.device, pipe.vae.dtype), None)
        packed: Tensor = pipe._pack_latents(encoded, len(images), encoded.shape[1], *encoded.shape[3:])
        return packed.float()

    def _grid(self, size: tuple[int, int]) -> Grid:
        width, height = size
        patch = self.pipeline.vae_scale_factor * 2
        return height // patch, width // patch

    def schedule(self, steps: int, conditioning: Conditioning) -> Tensor:
        """The pipeline's noise levels for this many steps and this size, shift and terminal included."""
        # A copy: set_timesteps leaves its result in the scheduler, which is the pipeline's own.
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        if steps < 1 or (scheduler.config.shift_terminal and steps < 2):
            raise HPEditError(f"{steps} steps are too few", hint="this model's schedule needs at least 2")
        height, width = conditioning.grids[0]
        config = scheduler.config
        shift = calculate_shift(
            height * width,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        retrieve_timesteps(scheduler, steps, "cpu", sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
        levels: Tensor = scheduler.sigmas
        return levels

    def initial_noise(self, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        """(B, N, C) float32: what `pipe(generator=torch.Generator("cpu").manual_seed(seed))` starts from."""
        height, width = (2 * side for side in conditioning.grids[0])
        channels = self.pipeline.transformer.config.in_channels // 4
        noise = [
            randn_tensor(
                (1, 1, channels, height, width),
                generator=torch.Generator("cpu").manual_seed(seed),
                device=self.device,
                dtype=conditioning.prompt_embeds.dtype,
            )
            for seed in seeds
        ]
        packed: Tensor = self.pipeline._pack_latents(torch.cat(noise), len(seeds), channels, height, width)
        return packed.float()

    def velocity(self, latents: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """One forward of the transformer without guidance; (B, N, C) float32 in and out."""
        batch, tokens = latents.shape[:2]
        shapes = [(1, height, width) for height, width in conditioning.grids]
        # Multiplied and divided as the pipeline does: in floating point that is not the identity.
        timestep = (s * 1000).to(latents.device).expand(batch).to(self.dtype) / 1000
        output = self.pipeline.transformer(
            hidden_states=torch.cat([latents.to(self.dtype), conditioning.source_latents], dim=1),
            timestep=timestep,
            guidance=None,
            encoder_hidden_states_mask=conditioning.prompt_mask if conditioning.padded else None,
            encoder_hidden_states=conditioning.prompt_embeds,
            img_shapes=[shapes] * batch,
            return_dict=False,
        )[0]
        velocity: Tensor = output[:, :tokens].float()
        return velocity

    @torch.no_grad()
    def decode(self, latents: Tensor, conditioning: Conditioning) -> list[Image.Image]:
        """RGB images of clean latents, lossless."""
        pipe, vae = self.pipeline, self.pipeline.vae
        patch = pipe.vae_scale_factor * 2
        height, width = (side * patch for side in conditioning.grids[0])
        unpacked = pipe._unpack_latents(latents.to(self.dtype), height, width, pipe.vae_scale_factor).to(vae.dtype)
        mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(unpacked)
        # The pipeline divides by the reciprocal; multiplying by the deviation differs in the last bit.
        reciprocal = 1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(unpacked)
        pixels = vae.decode(unpacked / reciprocal + mean, return_dict=False)[0][:, :, 0]
        images: list[Image.Image] = pipe.image_processor.postprocess(pixels, output_type="pil")
        return images

    def add_lora(self, settings: LoRASettings, seed: int) -> None:
        """Attach a fresh LoRA in place of one that may be there; HPEditError if a target matches no layer."""
        lora.add_lora(self.pipeline.transformer, settings, seed)
        self.set_checkpointing(self.device.type == "cuda")  # the activations of 60 blocks do not fit

    def set_checkpointing(self, on: bool) -> None:
        """Whether the backward pass computes activations again, which costs one more forward."""
        transformer = self.pipeline.transformer
        transformer.enable_gradient_checkpointing() if on else transformer.disable_gradient_checkpointing()

    def lora_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The LoRA's parameters by name; empty without a LoRA."""
        return lora.lora_parameters(self.pipeline.transformer)

    @contextmanager
    def lora_disabled(self) -> Iterator[None]:
        """Within it this editor is its base, fingerprint included."""
        with lora.lora_disabled(self.pipeline.transformer):
            before, self._lora_off = self._lora_off, True
            try:
                yield
            finally:
                self._lora_off = before

    def save_lora(self, folder: Path) -> None:
        """Write the LoRA for diffusers' `load_lora_weights`."""
        lora.save_lora(self.pipeline.transformer, folder)

    def load_lora(self, folder: Path) -> None:
        """Attach a LoRA written by `save_lora`; HPEditError if there is none or it does not fit."""
        lora.load_lora(self.pipeline, folder)
        self.pipeline.transformer.requires_grad_(False)

    def remove_lora(self) -> None:
        """Be the base again; nothing happens without a LoRA."""
        lora.remove_lora(self.pipeline.transformer)

    def settings(self) -> dict[str, int]:
        """The image areas, for a run folder or a report."""
        return asdict(self.areas)


def _dimensions(area: int, image: Image.Image) -> tuple[int, int]:
    """(width, height) of about `area` px in the image's aspect ratio, sides rounded to 32 as the pipeline does.

    Where the pipeline would round a side to 0 and fail, it is 32 here.
    """
    ratio = image.width / image.height
    if not 1 / MAX_ASPECT <= ratio <= MAX_ASPECT:
        raise HPEditError(
            f"a picture of {image.width} x {image.height} px is too narrow to edit",
            hint=f"crop it: the longer side may be {MAX_ASPECT:g} times the shorter",
        )
    width, height = calculate_dimensions(area, ratio)
    return max(width, 32), max(height, 32)
