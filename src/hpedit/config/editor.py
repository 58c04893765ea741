"""The section that describes an editor: the same keys in every recipe, and options of every command that edits.

    editor: Qwen/Qwen-Image-Edit-2509                   a name alone is its model
    editor: {model: ..., dtype: bfloat16, base: 8bit}

No torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hpedit.config.reading import Section, kind_of

Text = Annotated[str, Field(min_length=1)]
Area = Annotated[int, Field(ge=1024)]


class EditorSection(Section):
    """An editor: which model, in which form, on which device, at which sizes."""

    SHORT: ClassVar[str] = "model"

    model: Text = "mini"
    """"mini" (shipped in the package), a local folder, or a Hugging Face id such as Qwen/Qwen-Image-Edit-2509."""
    revision: Text | None = None
    """Git revision of a hub model; pin it: a name alone can change."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the frozen weights; sampling mathematics and LoRA stay in float32. auto is bfloat16 on an accelerator and
    float32 on the CPU."""
    resolution: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] | None = None
    """Side of a square edit in pixels; other aspects keep about this area. VAE and packing need multiples of 32. Left
    out, the model folder's own (hpedit.json), else 512."""
    source_area: Area | None = None
    """px^2 of a source as the VAE encodes it; by default as many as the edit has, not the pipeline's 1024^2."""
    condition_area: Area | None = None
    """px^2 of a source as the text encoder sees it; by default the model family's own."""
    guidance: Annotated[float, Field(ge=0.0, le=20.0)] | None = None
    """Embedded guidance of a distilled transformer (Kontext); by default 2.5."""
    base: Literal["full", "8bit", "4bit"] = "full"
    """The frozen weights as they are, or in 8 or 4 bits by bitsandbytes (on a GPU): half, or about a quarter, of the
    memory of bfloat16."""
    offload: Literal["none", "blocks"] = "none"
    """blocks: the transformer's weights stay in the CPU's memory and are moved to the GPU block by block; for editing,
    not for training."""
    frozen_loras: tuple[Text, ...] = ()
    """LoRAs that are merged into the base, in this order: folders or safetensors files, such as a few-step LoRA. A LoRA
    trained on top belongs to the merged base."""
    compile: bool = False
    """Compile the transformer's blocks, the same graph in rollout and replay: worth it for hundreds of forwards."""
    offload_encoders: Literal["auto", "on", "off"] = "auto"
    """In training: encode the cases of the run before its first iteration and then move text encoders and the VAE's
    encoder to the CPU: some 16 GB less on the GPU for Qwen-Image-Edit-2509; auto is on for a GPU alone. offline_dpo
    keeps them."""
    device: Text = "auto"
    """auto, cpu, mps, cuda or cuda:N; auto takes the first accelerator there is."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_name(cls, value: Any) -> Any:
        return {cls.SHORT: value} if isinstance(value, str) else value

    @field_validator("frozen_loras", mode="before")
    @classmethod
    def _takes_a_list(cls, value: Any) -> Any:
        # The validator above has taken the value out of JSON, where a list is a tuple.
        return tuple(value) if isinstance(value, list) else value

    @field_validator("offload_encoders", mode="before")
    @classmethod
    def _takes_true_and_false(cls, value: Any) -> Any:
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,4})?", value):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, is {kind_of(value)}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> EditorSection:
        if self.base != "full" and self.offload != "none":
            raise ValueError(f"base: {self.base} and offload: {self.offload} do not go together; choose one")
        if self.base != "full" and self.frozen_loras:
            raise ValueError(f"frozen_loras can't be merged into a base of {self.base}; set base: full")
        if self.base != "full" and self.dtype == "float32":
            raise ValueError(f"base: {self.base} computes in bfloat16; set dtype: bfloat16 or auto")
        return self

    @property
    def unshardable(self) -> str:
        """The setting that FSDP2 does not support here; "" if there is none."""
        return f"base: {self.base}" if self.base != "full" else "compile: true" if self.compile else ""

    def shaping(self) -> dict[str, Any]:
        """All settings as plain JSON, as run folders keep them: keys newer than the format are there only where set."""
        found = self.model_dump(mode="json")
        return {key: value for key, value in found.items() if value != NEWER_KEYS.get(key, ...)}


NEWER_KEYS: dict[str, Any] = {"offload": "none", "frozen_loras": []}
"""Keys that run folders of 0.2.0 don't know, with the defaults under which a run is the same as without them."""
