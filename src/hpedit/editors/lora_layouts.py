"""Bring LoRAs of other programs to diffusers' names: kohya, musubi, DiffSynth, peft, ComfyUI, and Flux's fused layers.

diffusers' own converters do what is more than a prefix, so that a file means the same here as there. What comes out has
only names of layers that an editor's transformer has; anything else is refused by the name of its layout.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin, QwenImageLoraLoaderMixin
from torch import Tensor, nn

from hpedit.editors.comfyui import OURS, from_comfyui
from hpedit.errors import HPEditError
from hpedit.progress import quiet_loading
from hpedit.store.atomic import read_json

PEFT_PREFIX = "base_model.model."
PEFT_CONFIG = "adapter_config.json"
_PEFT_KEYS = ("r", "lora_alpha", "use_rslora", "use_dora", "alpha_pattern", "rank_pattern")
_VARIANTS: Final = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "lokr_": "LoKr", "hada_": "LoHa", "oft_": "OFT",
    ".diff": "full weight differences", "ia3": "IA3",
}  # fmt: skip
_SIDES = (".lora_A.weight", ".lora_B.weight")


def layout_name(tensors: Mapping[str, Tensor]) -> str:
    """What the layout of a LoRA's names is called."""
    names = list(tensors)
    fused = any("double_blocks." in name or "single_blocks." in name for name in names)
    for prefix, called in (
        ("lora_unet_", "kohya's or musubi's (lora_unet_...)"),
        (PEFT_PREFIX, "fal's Kontext (base_model.model.double_blocks...)" if fused else "peft's (base_model.model...)"),
        ("diffusion_model.", "ComfyUI's (diffusion_model...)"),
        (OURS, "diffusers' (transformer...)"),
    ):
        if any(name.startswith(prefix) for name in names):
            return called
    return "Black Forest Labs' (double_blocks...)" if fused else "an unknown one"


def to_diffusers(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """A LoRA's tensors in diffusers' names, "transformer.<layer>.lora_A.weight", every alpha of the file multiplied in.

    Raises:
        HPEditError: a variant such as DoRA, or a layout or layer that no editor has; it names which.
    """
    for mark, variant in _VARIANTS.items():
        if name := next((name for name in tensors if mark in name), None):
            raise HPEditError(f"{file} is a {variant}, not a plain LoRA: it holds {name}", hint="only LoRAs are read")
    layout = layout_name(tensors)
    found = {name.replace(".default.", "."): tensor for name, tensor in tensors.items()}
    needs_diffusers = any("lora_unet_" in name or re.search(r"(double|single)_blocks\.", name) for name in found)
    if needs_diffusers and not any("single_transformer_blocks." in name for name in found):
        found = _by_diffusers(found, layout, file)
    else:
        found = from_comfyui({name.removeprefix(PEFT_PREFIX): tensor for name, tensor in found.items()})
    unknown = [name for name in found if not (name.startswith(OURS) and name.endswith(_SIDES) and _is_layer(name))]
    if unknown or not found:
        held = f"it holds {unknown[0].removeprefix(OURS)}" if unknown else "it is empty"
        raise HPEditError(
            f"{file} is not a LoRA of a transformer that can be edited with: {held}",
            hint=f"the layout is {layout}; layers are those of Qwen-Image-Edit or FLUX.1-Kontext",
        )
    return found


def peft_config(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Any] | None:
    """The configuration of peft's folder, keys behind "transformer."; None for another layout.

    Raises:
        HPEditError: peft's names without its configuration, which alone holds alpha, or a DoRA.
    """
    if not any(name.startswith(PEFT_PREFIX) for name in tensors) or any(name.endswith(".alpha") for name in tensors):
        return None
    path = file.with_name(PEFT_CONFIG)
    given = read_json(path) if path.is_file() else None
    if not isinstance(given, dict) or not isinstance(given.get("lora_alpha"), int | float) or "r" not in given:
        raise HPEditError(
            f"{file} has peft's names, but there is no {PEFT_CONFIG} with r and lora_alpha beside it",
            hint="its alpha is in that file: give the whole folder that peft wrote",
        )
    if given.get("use_dora"):
        raise HPEditError(f"{path} describes a DoRA, not a plain LoRA", hint="only LoRAs are read")
    return {f"{OURS}{key}": given[key] for key in _PEFT_KEYS if given.get(key)}


def _by_diffusers(tensors: Mapping[str, Tensor], layout: str, file: Path) -> dict[str, Tensor]:
    """Convert a layout by the loader of diffusers that knows it; HPEditError with the layout's name if it fails."""
    flux = any("double_blocks" in name or "single_blocks" in name for name in tensors)
    loader = FluxLoraLoaderMixin if flux else QwenImageLoraLoaderMixin
    try:
        with quiet_loading():
            converted = loader.lora_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (ValueError, KeyError, IndexError, RuntimeError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise HPEditError(
            f"{file} has the layout {layout}, which diffusers cannot convert: {why}",
            hint="export it in diffusers' names with the program that trained it",
        ) from error
    return {name: tensor.contiguous() for name, tensor in converted.items()}


def _is_layer(name: str) -> bool:
    """Whether a tensor's name is of a linear layer that an editor's transformer has."""
    layer = name.removeprefix(OURS).rsplit(".lora_", 1)[0]
    return _numberless(layer) in _known_layers()


def _numberless(layer: str) -> str:
    """A layer's name with its block's number left out."""
    return re.sub(r"(blocks)\.\d+\.", r"\1.", layer)


@functools.cache
def _known_layers() -> frozenset[str]:
    """Names of the linear layers of all editors' transformers, from models of one block without weights."""
    with torch.device("meta"):
        models = (
            QwenImageTransformer2DModel(num_layers=1, num_attention_heads=2, joint_attention_dim=8),
            FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True),
        )
    return frozenset(
        _numberless(name) for model in models for name, part in model.named_modules() if isinstance(part, nn.Linear)
    )
