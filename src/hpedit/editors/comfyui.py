"""Convert LoRA tensors between diffusers' and ComfyUI's names and scaling.

ComfyUI asks for `<name>.lora_A.weight`, `.lora_B.weight` and `.alpha` under each name that it knows for a layer
(comfy/lora.py, model_lora_keys_unet) and multiplies by alpha / rank, by 1 without an alpha: a file of diffusers
is read there, but with the alpha of its metadata lost. Here alpha / rank is multiplied into B and alpha = rank is
written, so that a reader that passes over alpha does the same; every layer has the same rank.

Names: Qwen-Image's layers are called in ComfyUI as in diffusers, behind "diffusion_model.". Flux's are fused there
(img_attn.qkv), and a LoRA of the fused layer would have three times the rank; ComfyUI knows the parts of a fused layer
by diffusers' names behind "transformer.", which are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from hpedit.errors import HPEditError

PREFIXES: Final = {
    "QwenImageEditPipeline": "diffusion_model.",
    "QwenImageEditPlusPipeline": "diffusion_model.",
    "FluxKontextPipeline": "transformer.",
}
"""Class of the pipeline -> what ComfyUI's names of its layers begin with."""
OURS = "transformer."


def to_comfyui(layers: Mapping[str, tuple[Tensor, Tensor, float]], pipeline: str) -> dict[str, Tensor]:
    """Convert LoRA layers to tensors in ComfyUI's names.

    Args:
        layers: Name of the layer -> A (r, in), B (out, r), alpha / r. Ranks may differ; they are filled up with zeros.
        pipeline: Key of `PREFIXES`.

    Raises:
        HPEditError: an unknown pipeline.
    """
    if pipeline not in PREFIXES:
        raise HPEditError(f"ComfyUI's layer names for {pipeline} are unknown", hint=f"known: {', '.join(PREFIXES)}")
    rank = max(down.shape[0] for down, _, _ in layers.values())
    tensors = {}
    for layer, (down, up, scale) in sorted(layers.items()):
        name, missing = PREFIXES[pipeline] + layer, rank - down.shape[0]
        tensors[f"{name}.lora_A.weight"] = torch.nn.functional.pad(down, (0, 0, 0, missing)).contiguous()
        tensors[f"{name}.lora_B.weight"] = torch.nn.functional.pad(scale * up, (0, missing)).contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    return tensors


def from_comfyui(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert ComfyUI's LoRA tensors to diffusers' names, every alpha multiplied in (alpha / rank is 1)."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        ours = OURS + name.removeprefix("diffusion_model.").removeprefix(OURS)
        ours = ours.replace(".lora_down.", ".lora_A.").replace(".lora_up.", ".lora_B.")
        if ours.endswith(".alpha"):
            continue
        if ours.endswith(".lora_B.weight"):
            alpha = tensors.get(name.rsplit(".", 2)[0] + ".alpha")
            tensor = tensor if alpha is None else tensor.float() * (float(alpha) / tensor.shape[1])
        found[ours] = tensor
    return found
