"""The editor for every diffusers pipeline: conditioning cache, noise schedule, guidance and LoRA around an adapter.

The adapter knows the pipeline; this does what is the same for all of them. `hpedit.editors.load` makes both.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hpedit.editors import lora, lora_files
from hpedit.editors.adapter import Adapter, initial_noise, noise_levels
from hpedit.editors.fingerprint import tensors_fingerprint, weights_fingerprint
from hpedit.editors.guidance import apply_guidance
from hpedit.editors.lora_files import MERGED, LoraBase
from hpedit.editors.placement import Encoders, is_compiled, is_group_offloaded
from hpedit.editors.protocol import Conditioning, EncodedPrompt, LoRASettings
from hpedit.editors.sizes import ImageAreas
from hpedit.editors.usual import UsualSampling
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.tensors import read_tensors, write_tensors

logger = logging.getLogger(__name__)

MOST_CFG = 20.0
"""Guidance scales beyond this are taken for typing errors: 4 is usual for Qwen-Image."""
MEMORY_CASES = 1024
"""Encoded cases kept in memory: some 2 MB each at full scale, the rest is on disk."""


class DiffusersEditor:
    """A pipeline of diffusers behind the `TrainableEditor` protocol."""

    def __init__(
        self, adapter: Adapter, *, fingerprint: str | None = None, cache: Path | None = None, cfg: float = 1.0,
        usual: UsualSampling | None = None,
    ) -> None:  # fmt: skip
        """Take a pipeline that is already on its device; its weights are frozen here.

        Args:
            adapter: The pipeline and the image sizes.
            fingerprint: Names the weights; None hashes them.
            cache: Folder of encoded cases, shared by any number of models; None keeps them in memory alone.
            cfg: Scale of classifier-free guidance, 1 to 20. 1 is off: no negative is encoded and no second forward
                made.
            usual: Steps and guidance with which the model is used; None = its family's.

        Raises:
            HPEditError: a scale below 1 or absurdly large.
        """
        _check_cfg(cfg)
        self.adapter, self.usual = adapter, usual or adapter.USUAL
        self._lora_off = False
        parts = [getattr(self.pipeline, name) for name in ("transformer", "vae", *adapter.ENCODERS)]
        for module in parts:
            module.eval().requires_grad_(False)
        weights = fingerprint or tensors_fingerprint(*(module.state_dict() for module in parts))
        hub = weights if "@" in weights else ""
        # A LoRA that is merged into the base changes no vector, which is all that the weights' fingerprint looks at.
        _, mark, merged = weights.partition(MERGED)
        trained_on = weights_fingerprint(self.pipeline.transformer) + mark + merged
        self._base = LoraBase(type(self.pipeline).__name__, trained_on, hub)
        areas, dtype = adapter.areas, str(self.dtype).removeprefix("torch.")
        self._encoded = f"{weights}/{dtype}/{areas.resolution}.{areas.condition_area}.{areas.source_area}"
        self._encoders, self._cache_folder = Encoders(self.pipeline, adapter.ENCODERS, self.device), cache
        self._set_cfg(cfg)

    def _set_cfg(self, cfg: float) -> None:
        self.cfg, scale = cfg, self.adapter.embedded_guidance
        self._base_fingerprint = (
            self._encoded
            + (f"/guidance{scale:g}" if scale is not None else "")
            + (f"/cfg{cfg:g}" if self._guided else "")
        )
        name = self._encoded + ("/negative" if self._guided else "")
        self._cache = ConditioningCache(name, self._cache_folder, self.device)

    def with_guidance(self, cfg: float) -> DiffusersEditor:
        """The same model with another classifier-free guidance: weights and LoRA are shared, encoded cases are not.

        Raises:
            HPEditError: a scale below 1 or absurdly large.
        """
        _check_cfg(cfg)
        if cfg == self.cfg:
            return self
        other = copy.copy(self)
        other._set_cfg(cfg)
        return other

    @property
    def pipeline(self) -> Any:
        """The pipeline of diffusers."""
        return self.adapter.pipeline

    @property
    def areas(self) -> ImageAreas:
        """The image sizes."""
        return self.adapter.areas

    @property
    def _guided(self) -> bool:
        return self.cfg != 1.0

    @property
    def dtype(self) -> torch.dtype:
        """Of the transformer's input and of its frozen weights, but for those of an 8-bit base."""
        weight: Tensor = self.pipeline.transformer.proj_out.weight
        # An 8-bit base has integers in its linear layers; the rest of it has the dtype that it computes in.
        found: torch.dtype = weight.dtype if weight.dtype.is_floating_point else self.pipeline.transformer.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Where the transformer computes."""
        found: torch.device = self.pipeline.transformer.device
        return found

    @property
    def fingerprint(self) -> str:
        """Weights, dtype, sizes and guidance, and the LoRA unless it is off or there is none."""
        parameters = self.lora_parameters()
        if self._lora_off or not parameters:
            return self._base_fingerprint
        alpha = self.pipeline.transformer.peft_config[lora.ADAPTER].lora_alpha
        return f"{self._base_fingerprint}+lora:{tensors_fingerprint(parameters)}:{alpha}"

    def output_size(self, image: Image.Image) -> tuple[int, int]:
        """(width, height) px of an edit of `image`."""
        return self.adapter.output_size(image)

    @torch.no_grad()
    def encode(self, cases: Sequence[Case]) -> Conditioning:
        """Encode cases of one size (else HPEditError), each once: later calls read memory or the cache folder."""
        return Conditioning.cat([self._cache.get(case, self._encode_one) for case in cases])

    def _encode_one(self, case: Case) -> Conditioning:
        self._encoders.bring_back()
        return self.adapter.encode(case, negative=self._guided)

    def offload_encoders(self) -> None:
        """Move text encoders and the VAE's encoder, which only encoding needs, to the CPU.

        They come back by themselves when an uncached case is encoded, and stay until the next call.
        """
        self._encoders.send_away()

    @torch.no_grad()
    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32: the x0 of supervised training, from images of one size, at the editor's output size."""
        self._encoders.bring_back()
        return self.adapter.latents(images)

    def schedule(self, steps: int, conditioning: Conditioning) -> Tensor:
        """The pipeline's noise levels for this many steps and this size; HPEditError for fewer than two steps."""
        height, width = conditioning.grids[0]
        return noise_levels(self.pipeline.scheduler, steps, height * width)

    def initial_noise(self, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        """(B, N, C) float32: what `pipe(generator=torch.Generator("cpu").manual_seed(seed))` starts from."""
        return initial_noise(self.pipeline, conditioning.grids[0], seeds, self.device, conditioning.prompt.embeds.dtype)

    def velocity(self, latents: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """(B, N, C) float32 in and out: one forward of the transformer, with guidance two."""
        batch, tokens = latents.shape[:2]
        x = torch.cat([latents.to(self.dtype), conditioning.source_latents], dim=1)
        # Multiplied and divided as the pipeline does: in floating point that is not the identity.
        timestep = (s * 1000).to(latents.device).expand(batch).to(self.dtype) / 1000
        positive = self._forward(x, timestep, conditioning.prompt, conditioning)[:, :tokens].float()
        if not self._guided:
            return positive
        assert conditioning.negative is not None, "encoded by this editor"
        negative = self._forward(x, timestep, conditioning.negative, conditioning)[:, :tokens].float()
        return apply_guidance(positive, negative, self.cfg, self.adapter.RULE)

    def _forward(self, x: Tensor, timestep: Tensor, prompt: EncodedPrompt, conditioning: Conditioning) -> Tensor:
        if torch.is_grad_enabled() or not is_compiled(self.pipeline.transformer):
            return self.adapter.forward(x, timestep, prompt, conditioning.grids)
        # Compiled code is another one with and without gradients, and rounds differently: a replay must repeat the
        # rollout's numbers, so both run the one with.
        with torch.enable_grad():
            return self.adapter.forward(x, timestep, prompt, conditioning.grids).detach()

    @torch.no_grad()
    def decode(self, latents: Tensor, conditioning: Conditioning) -> list[Image.Image]:
        """RGB images of clean latents, lossless."""
        return self.adapter.decode(latents.to(self.dtype), conditioning.grids[0])

    def add_lora(self, settings: LoRASettings, seed: int) -> None:
        """Attach a fresh LoRA in place of one that may be there; HPEditError if a target misses layers it is meant for.

        An offloaded base is refused too: the backward pass needs the weights that offloading has taken away.
        """
        transformer = self.pipeline.transformer
        if is_group_offloaded(transformer):
            raise HPEditError("a base that is offloaded can't be trained", hint="take base 8bit or full")
        lora.add_lora(transformer, settings, seed, self.adapter.TARGETS)
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
        """Switch the LoRA off within the block: the editor is its base, fingerprint included."""
        with lora.lora_disabled(self.pipeline.transformer):
            before, self._lora_off = self._lora_off, True
            try:
                yield
            finally:
                self._lora_off = before

    def save_lora(self, folder: Path, *, comfyui: bool = False) -> None:
        """Write the LoRA for diffusers' `load_lora_weights`, with the name of this base in it.

        With `comfyui` also for ComfyUI: <folder>/comfyui/lora.safetensors.
        """
        lora_files.save_lora(self.pipeline.transformer, folder, self._base)
        if comfyui:
            lora_files.export_lora(folder, folder / lora_files.COMFYUI_NAME, "comfyui")

    def load_lora(self, folder: Path) -> None:
        """Attach a LoRA from a folder or a safetensors file; HPEditError if there is none, or it is another base's."""
        lora_files.load_lora(self.pipeline.transformer, folder, self._base)
        self.pipeline.transformer.requires_grad_(False)

    def remove_lora(self) -> None:
        """Remove the LoRA, if there is one."""
        lora.remove_lora(self.pipeline.transformer)

    def settings(self) -> dict[str, int]:
        """The image areas, for a run folder or a report."""
        return asdict(self.areas)


def _check_cfg(cfg: float) -> None:
    if not 1.0 <= cfg <= MOST_CFG:
        raise HPEditError(f"cfg is {cfg}", hint=f"1 (off) to {MOST_CFG:g}; 4 is usual for Qwen-Image-Edit")


class ConditioningCache:
    """Encoded cases of one model and its settings: in memory and, by content hash, in a folder that runs can share."""

    def __init__(self, name: str, folder: Path | None, device: torch.device) -> None:
        """Start empty.

        Args:
            name: Names all that an encoding depends on beside the case: weights, dtype, sizes, with or without a
                negative.
            folder: Of the files; None keeps them in memory alone.
            device: Where what is read goes.
        """
        self._name, self._folder, self._device = name, folder, device
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()

    def get(self, case: Case, encode: Callable[[Case], Conditioning]) -> Conditioning:
        """The case's encoding from memory, else from the folder, else by `encode`, which is then kept in both."""
        key = hashlib.sha256(f"{self._name};{case.group_key}".encode()).hexdigest()
        if key not in self._memory:
            self._memory[key] = self._read(key) or self._encode_and_keep(key, case, encode)
            if len(self._memory) > MEMORY_CASES:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def _path(self, key: str) -> Path | None:
        return self._folder / key[:2] / f"{key}.safetensors" if self._folder else None

    def _read(self, key: str) -> Conditioning | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            return Conditioning.from_tensors(read_tensors(path)).to(self._device)
        except (HPEditError, KeyError) as error:
            logger.warning("a cached encoding is made again: %s", error)
            return None

    def _encode_and_keep(self, key: str, case: Case, encode: Callable[[Case], Conditioning]) -> Conditioning:
        conditioning = encode(case)
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, conditioning.to_tensors())
        return conditioning
