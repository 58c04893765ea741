"""How a run lies on its GPUs. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from hpedit.config.recipe import Recipe
from hpedit.plan.transformer_layers import Architecture

BaseForm = Literal["full", "8bit", "offload"]
ELEMENT: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Layout:
    """Devices, and the form of the frozen base on them."""

    gpus: int
    """Processes, one a GPU."""
    accelerator: bool
    """False on a CPU."""
    dtype: str
    base: BaseForm = "full"
    shard: bool = False
    """Whether the base is cut into as many parts as there are GPUs (FSDP)."""
    recomputes: bool = True
    """Whether activations are computed again in the backward pass: the editor does so on CUDA."""
    encoders_leave: bool = True
    """Whether text encoders are on the accelerator only while cases are encoded."""

    @property
    def element(self) -> int:
        """Bytes of a number of the base."""
        return ELEMENT[self.dtype]

    @property
    def cut(self) -> bool:
        """Whether there is anything to be cut into parts."""
        return self.shard and self.gpus > 1

    def base_bytes(self, architecture: Architecture) -> int:
        """Bytes of the transformer's frozen weights on one GPU."""
        whole = architecture.parameters * (1 if self.base == "8bit" else self.element)
        block = 2 * whole // max(1, architecture.blocks)  # the one that computes, and the next on its way
        if self.base == "offload":
            return block
        return whole // self.gpus + block if self.cut else whole

    def describe(self) -> str:
        """In a few words."""
        form = {"full": self.dtype, "8bit": "8 bit", "offload": f"{self.dtype}, offloaded"}[self.base]
        return f"{form}, 1/{self.gpus} and 2 blocks" if self.cut else form


def layout_of_recipe(recipe: Recipe, gpus: int, *, accelerator: bool, recomputes: bool) -> Layout:
    """Read a recipe; a setting that it does not have means a whole base in its own dtype on every GPU.

    Args:
        recipe: What is to be run.
        gpus: Processes, one a GPU.
        accelerator: Whether it runs on one.
        recomputes: Whether activations are recomputed where the recipe leaves it open.
    """
    told = {"on": True, "off": False}
    shard = recipe.scale.shard
    by_accelerate = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    return Layout(
        gpus=gpus,
        accelerator=accelerator,
        dtype=recipe.editor.dtype,
        base=recipe.editor.base,
        shard=shard == "fsdp2" or (shard == "auto" and by_accelerate),
        recomputes=told.get(recipe.train.checkpointing, recomputes),
        encoders_leave=not recipe.offline and told.get(recipe.editor.offload_encoders, accelerator),
    )
