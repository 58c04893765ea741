"""How ComfyUI reads a LoRA, as far as it matters here: which layer of its model a name belongs to, and what is added.

Written after what comfy/lora.py, comfy/utils.py (flux_to_diffusers) and comfy/weight_adapter/lora.py do: Qwen-Image's
layers have diffusers' names; of Flux's, query, key and value lie in one matrix, beside the MLP's first layer in single
blocks.
"""

import re

import torch

ROWS = {"q": 0, "k": 1, "v": 2}


def merged_updates(tensors, model):
    """Name of ComfyUI's weight -> what is added to it; every tensor of the file must have been used.

    Args:
        tensors: The file's.
        model: "qwen" or "flux".
    """
    used, found = set(), {}
    for name in sorted({key.rsplit(".lora_", 1)[0] for key in tensors if ".lora_" in key}):
        down, up = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
        alpha = tensors.get(f"{name}.alpha")
        scale = float(alpha) / down.shape[0] if alpha is not None else 1.0
        used |= {f"{name}.lora_A.weight", f"{name}.lora_B.weight"} | ({f"{name}.alpha"} if alpha is not None else set())
        update = scale * (up @ down)
        place = _qwen(name) if model == "qwen" else _flux(name)
        assert place, f"ComfyUI would not know {name}"
        weight, row = place
        if row is None:
            found[weight] = update
        else:
            whole = found.setdefault(weight, torch.zeros(3 * update.shape[0], update.shape[1]))
            whole[row * update.shape[0] : (row + 1) * update.shape[0]] += update
    assert used == set(tensors), f"left over: {set(tensors) - used}"
    return found


def _qwen(name):
    match = re.fullmatch(r"(?:diffusion_model\.|transformer\.)(transformer_blocks\..+)", name)
    return (match[1], None) if match else None


def _flux(name):
    match = re.fullmatch(r"transformer\.(single_)?transformer_blocks\.(\d+)\.(.+)", name)
    if not match:
        return None
    single, index, layer = match.groups()
    if single:
        kind = re.fullmatch(r"attn\.to_([qkv])", layer)
        return (f"single_blocks.{index}.linear1", ROWS[kind[1]]) if kind else None
    if kind := re.fullmatch(r"attn\.(?:to_([qkv])|add_([qkv])_proj)", layer):
        stream = "img" if kind[1] else "txt"
        return f"double_blocks.{index}.{stream}_attn.qkv", ROWS[kind[1] or kind[2]]
    ends = {"attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj"}
    return (f"double_blocks.{index}.{ends[layer]}", None) if layer in ends else None
