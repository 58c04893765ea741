"""A LoRA on a diffusers transformer: attach, switch off, save so that diffusers loads it, load.

One adapter at a time. peft drops the alpha from what it exports; without it diffusers takes alpha = rank and every edit
differs, so the file carries the adapter's configuration as metadata, where `load_lora_weights` looks for it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save
from torch import nn

from hpedit.editors.lora_forward import quicken
from hpedit.editors.protocol import LoRASettings
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write

ADAPTER = "default"
WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a folder."""


def check_targets(transformer: nn.Module, targets: Sequence[str]) -> None:
    """Every target must end the name of at least one linear layer; peft is content if any one of them does.

    Raises:
        HPEditError: lists those that match nothing, with the nearest names there are.
    """
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    unmatched = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in linear)]
    if not targets or unmatched:
        kinds = sorted({_ending(name) for name in linear})
        near = [name for target in unmatched for name in difflib.get_close_matches(target, kinds, n=1)]
        what = f"lora.targets match no linear layer: {', '.join(unmatched)}" if targets else "lora.targets is empty"
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise HPEditError(what, hint=f"{meant}linear layers of this model end in: {', '.join(kinds)}")


def _ending(name: str) -> str:
    """The part of a layer's name that is the same in all blocks: "transformer_blocks.3.attn.to_out.0" -> "to_out.0"."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]


def add_lora(transformer: Any, settings: LoRASettings, seed: int) -> None:
    """Attach a fresh LoRA in float32; it changes nothing, for B is zero, and A depends on `seed` alone.

    Raises:
        HPEditError: a target that matches no linear layer.
    """
    remove_lora(transformer)
    check_targets(transformer, settings.targets)
    transformer.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=sorted(settings.targets), init_lora_weights=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer.add_adapter(config, adapter_name=ADAPTER)
    for parameter in lora_parameters(transformer).values():
        # Adam's small steps vanish in bf16 weights.
        parameter.data = parameter.data.float()
    quicken(transformer, ADAPTER)


def has_lora(transformer: Any) -> bool:
    """Whether an adapter is attached, switched on or not."""
    return bool(getattr(transformer, "peft_config", None))


def remove_lora(transformer: Any) -> None:
    """Detach whatever adapters there are."""
    if has_lora(transformer):
        # Not delete_adapters, which leaves peft's empty layers around the linear ones.
        transformer.unload_lora()


def lora_parameters(transformer: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA's parameters by name, in the model's order."""
    return {name: parameter for name, parameter in transformer.named_parameters() if ".lora_" in name}


@contextmanager
def lora_disabled(transformer: Any) -> Iterator[None]:
    """Within it the model computes as if it had no LoRA; a model without one is left alone."""
    if not has_lora(transformer):
        yield
        return
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()


def save_lora(transformer: Any, folder: Path) -> None:
    """Write `folder`/pytorch_lora_weights.safetensors atomically; the same weights give the same bytes.

    Raises:
        HPEditError: no LoRA is attached.
    """
    if not has_lora(transformer):
        raise HPEditError("there is no LoRA to save")
    state = get_peft_model_state_dict(transformer, adapter_name=ADAPTER)
    tensors = {f"transformer.{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    config = {f"transformer.{key}": value for key, value in transformer.peft_config[ADAPTER].to_dict().items()}
    # The one key, for the order of several is not fixed in the file. Sets are sorted for the same reason.
    metadata = {LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True, default=sorted)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / WEIGHTS_NAME, save(tensors, metadata))


def load_lora(pipeline: Any, folder: Path) -> None:
    """Attach the LoRA of `folder` through the pipeline's own loader, in place of one that may be there.

    Raises:
        HPEditError: no such file, a file that is not safetensors, or a LoRA for another model.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise HPEditError(f"{path} does not exist", hint="give the folder that `hpedit train` wrote: <output>/lora")
    remove_lora(pipeline.transformer)
    try:
        pipeline.load_lora_weights(str(folder), weight_name=WEIGHTS_NAME, adapter_name=ADAPTER)
    except (SafetensorError, OSError) as error:
        raise HPEditError(f"{path} cannot be read: {error}") from error
    except (RuntimeError, ValueError, KeyError) as error:
        remove_lora(pipeline.transformer)
        raise HPEditError(f"{path} does not fit this model: {error}", hint="it was trained on another base") from error
