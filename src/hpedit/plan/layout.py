"""How a run is laid out on its GPUs: processes, dtype, sharding, offloading, checkpointing. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from hpedit.config.recipe import Recipe
from hpedit.plan.transformer_layers import Architecture

BaseForm = Literal["full", "8bit", "4bit", "offload"]
ELEMENT: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED: Final[dict[str, float]] = {"8bit": 1.0, "4bit": 0.5625}
"""Bytes of a weight; NF4 has one float32 scale for 64 weights."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Devices of a run, and the form of the frozen base model on them."""

    gpus: int
    """Processes, one per GPU."""
    accelerator: bool
    """False on a CPU."""
    dtype: str
    base: BaseForm = "full"
    shard: bool = False
    """Whether the base is sharded over all GPUs (FSDP)."""
    recomputes: bool = True
    """Whether activations are recomputed in the backward pass (gradient checkpointing); default on CUDA."""
    encoders_leave: bool = True
    """Whether text encoders are offloaded to the CPU once the cases are encoded."""

    @property
    def element(self) -> int:
        """Bytes per number in the base's dtype."""
        return ELEMENT[self.dtype]

    @property
    def sharded(self) -> bool:
        """Whether the base is sharded over more than one GPU."""
        return self.shard and self.gpus > 1

    def base_bytes(self, architecture: Architecture) -> int:
        """Bytes of the transformer's frozen weights on one GPU."""
        whole = round(architecture.parameters * QUANTIZED.get(self.base, self.element))
        block = 2 * whole // max(1, architecture.blocks)  # the one in use, and the next one being fetched
        if self.base == "offload":
            return block
        return whole // self.gpus + block if self.sharded else whole

    def describe(self) -> str:
        """Form of the base in a few words."""
        form = {"full": self.dtype, "8bit": "8 bit", "4bit": "4 bit", "offload": f"{self.dtype}, offloaded"}[self.base]
        return f"{form}, 1/{self.gpus} and 2 blocks" if self.sharded else form


def layout_of_recipe(recipe: Recipe, gpus: int, *, accelerator: bool, recomputes: bool) -> Layout:
    """Layout of a recipe's run on `gpus` processes, one per GPU.

    Args:
        recipe: The run's recipe.
        gpus: Number of processes.
        accelerator: Whether it runs on a GPU.
        recomputes: Whether activations are recomputed if the recipe leaves it open.
    """
    switch = {"on": True, "off": False}
    shard = recipe.scale.shard
    by_accelerate = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    return Layout(
        gpus=gpus,
        accelerator=accelerator,
        dtype=recipe.editor.dtype,
        base=recipe.editor.base,
        shard=shard == "fsdp2" or (shard == "auto" and by_accelerate),
        recomputes=switch.get(recipe.train.checkpointing, recomputes),
        encoders_leave=not recipe.offline and switch.get(recipe.editor.offload_encoders, accelerator),
    )
