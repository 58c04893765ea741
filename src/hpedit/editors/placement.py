"""Placement of a pipeline's parts: 8-bit, 4-bit or offloaded base, encoder offloading, compiled blocks.

Only what a CPU can do is tested: encoder offloading, the refusals, compiled blocks without code generation, and
offloading from the CPU to the CPU. "8bit", "4bit" and offloaded blocks call diffusers' own quantisation and group
offloading, and have not been run on a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Final, Literal

import torch
from torch import nn

from hpedit.errors import HPEditError

BaseForm = Literal["full", "8bit", "4bit"]
BASES: Final = ("full", "8bit", "4bit")
"""full: the base's weights as they are; 8bit: by bitsandbytes, half the memory of bfloat16; 4bit: NF4 by bitsandbytes,
a good quarter of it."""
OFFLOADS: Final = ("none", "blocks")
"""blocks: the transformer's weights stay in the CPU's memory and are moved block by block, for inference only."""


class Encoders:
    """Text encoders and the VAE's encoder, which can be offloaded to the CPU between encodings."""

    def __init__(self, pipeline: Any, names: Sequence[str], device: torch.device) -> None:
        """Take the parts of a pipeline that are on `device` now."""
        vae = pipeline.vae
        found = [getattr(pipeline, name) for name in names]
        found += [getattr(vae, name, None) for name in ("encoder", "quant_conv")]
        self._parts: list[nn.Module] = [part for part in found if part is not None]
        self._device = device
        self._away = False

    def send_away(self) -> None:
        """Move them to the CPU."""
        if not self._away and self._device.type != "cpu":
            self._move_encoders(torch.device("cpu"))
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()
        self._away = True

    def bring_back(self) -> None:
        """Move them back to the device."""
        if self._away and self._device.type != "cpu":
            self._move_encoders(self._device)
        self._away = False

    def _move_encoders(self, device: torch.device) -> None:
        for part in self._parts:
            part.to(device)


def check_base(base: str, dtype: str, device: str, offload: str = "none") -> None:
    """HPEditError if the base can't be loaded in this form, or offloaded, on this device."""
    if base not in BASES:
        raise HPEditError(f"unknown base {base!r}", hint=f"one of {', '.join(BASES)}")
    if offload not in OFFLOADS:
        raise HPEditError(f"unknown offload {offload!r}", hint=f"one of {', '.join(OFFLOADS)}")
    asked = f"base {base}" if base != "full" else f"offload {offload}"
    if (base, offload) != ("full", "none") and torch.device(device).type == "cpu":
        hint = "use base full and offload none"
        raise HPEditError(f"{asked} saves memory of an accelerator, and the device is the cpu", hint)
    if base == "full":
        return
    if offload != "none":
        raise HPEditError(f"base {base} and offload {offload} do not go together", hint="choose one of the two")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise HPEditError(f"base {base} needs bitsandbytes, which is not installed", hint="pip install bitsandbytes")
    if dtype != "bfloat16":
        raise HPEditError(f"base {base} computes in bfloat16, and dtype is {dtype}", hint="set dtype to bfloat16")


def quantization(base: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for 8-bit or 4-bit quantization; only the transformer is quantized."""
    if base not in ("8bit", "4bit"):
        return {}
    from diffusers import PipelineQuantizationConfig

    nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return {
        "quantization_config": PipelineQuantizationConfig(
            quant_backend=f"bitsandbytes_{base}",
            quant_kwargs=nf4 if base == "4bit" else {"load_in_8bit": True},
            components_to_quantize=["transformer"],
        )
    }


def place_pipeline(pipeline: Any, offload: str, device: str) -> Any:
    """Move a pipeline to its device; an offloaded transformer's weights stay behind. Returns the pipeline."""
    if offload != "blocks":
        return pipeline.to(device)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module) and name != "transformer":
            part.to(device)
    pipeline.transformer.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=torch.device(device).type == "cuda",
    )
    return pipeline


def is_group_offloaded(transformer: nn.Module) -> bool:
    """Whether the transformer's weights are offloaded block by block."""
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    return bool(_is_group_offload_enabled(transformer))


def compile_blocks(transformer: Any, backend: str = "inductor") -> None:
    """Compile the repeated blocks, each kind once, for all sizes and prompt lengths (dynamic shapes)."""
    transformer.compile_repeated_blocks(backend=backend, dynamic=True)


def is_compiled(transformer: nn.Module) -> bool:
    """Whether the transformer's blocks are compiled."""
    blocks = getattr(transformer, "transformer_blocks", None)
    return bool(blocks) and blocks[0]._compiled_call_impl is not None  # type: ignore[index]
