"""Attach a LoRA to a diffusers transformer, check its target layers, switch it off. One adapter at a time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from torch import nn

from hpedit.editors.lora_forward import patch_lora_forward
from hpedit.editors.protocol import LoRASettings
from hpedit.errors import HPEditError

ADAPTER = "default"
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a folder."""
SHOWN = 4
"""Blocks named in a message."""


def check_targets(transformer: nn.Module, targets: Sequence[str]) -> None:
    """Check that every LoRA target matches linear layers, in all blocks of a kind or in none; peft checks neither.

    Raises:
        HPEditError: lists those that match nothing, with the nearest names there are, or those that leave blocks out.
    """
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    matched = {t: [name for name in linear if name == t or name.endswith(f".{t}")] for t in targets}
    unmatched = [target for target, names in matched.items() if not names]
    if not targets or unmatched:
        kinds = sorted({_ending(name) for name in linear})
        near = [name for target in unmatched for name in difflib.get_close_matches(target, kinds, n=1)]
        what = f"lora.targets match no linear layer: {', '.join(unmatched)}" if targets else "lora.targets is empty"
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise HPEditError(what, hint=f"{meant}linear layers of this model end in: {', '.join(kinds)}")
    partial = [reports for target, names in matched.items() for reports in _left_out(transformer, target, names)]
    if partial:
        raise HPEditError(
            f"lora.targets match in some blocks only: {'; '.join(partial)}",
            hint="give the end of a layer's name, such as to_q, which is the same in every block",
        )


def _left_out(transformer: nn.Module, target: str, names: Sequence[str]) -> list[str]:
    """What to report of each kind of block of which `names`, the layers that `target` matches, lie in some but not all.

    A kind is a list of blocks, such as Flux's transformer_blocks and single_transformer_blocks.
    """
    reports = []
    for kind, blocks in transformer.named_children():
        if not isinstance(blocks, nn.ModuleList):
            continue
        hit = {name.split(".")[1] for name in names if name.startswith(f"{kind}.")}
        missed = [number for number, _ in blocks.named_children() if number not in hit]
        if hit and missed:
            more = f" and {len(missed) - SHOWN} more" if len(missed) > SHOWN else ""
            reports.append(f"{target} misses {kind} {', '.join(missed[:SHOWN])}{more}")
    return reports


def _ending(name: str) -> str:
    """The part of a layer's name that is the same in all blocks: "transformer_blocks.3.attn.to_out.0" -> "to_out.0"."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def add_lora(transformer: Any, settings: LoRASettings, seed: int, usual: Sequence[str]) -> None:
    """Attach a fresh LoRA in float32; B is zero, so it changes nothing yet, and A depends on `seed` alone.

    Args:
        transformer: Of the pipeline.
        settings: Rank, alpha and targets.
        seed: Of A.
        usual: Targets where the settings name none.

    Raises:
        HPEditError: a target that matches no linear layer, or only some blocks' layers.
    """
    remove_lora(transformer)
    targets = usual if settings.targets is None else settings.targets
    check_targets(transformer, targets)
    transformer.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=sorted(targets), init_lora_weights=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer.add_adapter(config, adapter_name=ADAPTER)
    for parameter in lora_parameters(transformer).values():
        # Adam's small steps vanish in bf16 weights.
        parameter.data = parameter.data.float()
    patch_lora_forward(transformer, ADAPTER)


def has_lora(transformer: Any) -> bool:
    """Whether a LoRA is attached, switched on or off."""
    return bool(getattr(transformer, "peft_config", None))


def remove_lora(transformer: Any) -> None:
    """Detach any LoRA."""
    if has_lora(transformer):
        # Not delete_adapters, which leaves peft's empty layers around the linear ones.
        transformer.unload_lora()


def lora_parameters(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA's parameters by name, in the model's order."""
    return {name: parameter for name, parameter in transformer.named_parameters() if ".lora_" in name}


@contextmanager
def lora_disabled(transformer: Any) -> Iterator[None]:
    """Switch the LoRA off within the block; a model without one is left alone."""
    if not has_lora(transformer):
        yield
        return
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()
