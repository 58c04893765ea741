"""The interface of an image editor: encode, noise schedule, velocity, decode; with a LoRA if it can be trained.

    conditioning = editor.encode([case])                       # once a case
    levels = editor.schedule(steps, conditioning)
    x = editor.initial_noise(conditioning, seeds=[7])
    for s, s_next in zip(levels[:-1], levels[1:]):
        v = editor.velocity(x, s, conditioning)
        x = x + (s_next - s) * v                               # the ODE step of hpedit.rl.flow_sde
    image, = editor.decode(x, conditioning)

Axes: B edits, T text tokens, D text width, N target tokens, M source tokens, C channels of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.records import Case

Grid = tuple[int, int]
"""Height and width in tokens."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Encoded instructions (prompt embeddings) of B edits."""

    embeds: Tensor
    """(B, T, D) in the model's dtype; zeros behind a prompt's end."""
    mask: Tensor
    """(B, T) bool, False behind a prompt's end."""
    pooled: Tensor | None = None
    """(B, P) in the model's dtype, where the model takes a summary of the whole prompt too."""
    padded: bool = False
    """Whether any prompt of the batch that this was selected from is padded. `Conditioning.select` keeps it, so that a
    part of a batch takes the same path through the attention as the whole, and gives the same numbers."""

    def each(self, change: Callable[[Tensor], Tensor]) -> EncodedPrompt:
        """Change every tensor; T stays."""
        pooled = None if self.pooled is None else change(self.pooled)
        return replace(self, embeds=change(self.embeds), mask=change(self.mask), pooled=pooled)

    @staticmethod
    def cat(parts: Sequence[EncodedPrompt]) -> EncodedPrompt:
        """One batch; shorter prompts are padded."""
        length = max(part.embeds.shape[1] for part in parts)
        missing = [length - part.embeds.shape[1] for part in parts]
        pad = torch.nn.functional.pad
        pooled = [part.pooled for part in parts if part.pooled is not None]
        assert len(pooled) in (0, len(parts)), "all prompts are of one model"
        return EncodedPrompt(
            torch.cat([pad(part.embeds, (0, 0, 0, m)) for part, m in zip(parts, missing, strict=True)]),
            torch.cat([pad(part.mask, (0, m)) for part, m in zip(parts, missing, strict=True)]),
            torch.cat(pooled) if pooled else None,
            any(missing) or any(part.padded for part in parts),
        )

    def to_tensors(self, prefix: str) -> dict[str, Tensor]:
        """As tensors for safetensors, under names that begin with `prefix`."""
        tensors = {"embeds": self.embeds, "mask": self.mask, "padded": torch.tensor(self.padded)}
        if self.pooled is not None:
            tensors["pooled"] = self.pooled
        return {f"{prefix}_{name}": tensor.contiguous() for name, tensor in tensors.items()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], prefix: str) -> EncodedPrompt:
        """Read what `to_tensors` wrote; a missing tensor is a KeyError."""
        return EncodedPrompt(
            tensors[f"{prefix}_embeds"],
            tensors[f"{prefix}_mask"],
            tensors.get(f"{prefix}_pooled"),
            bool(tensors[f"{prefix}_padded"]),
        )


@dataclass(frozen=True, slots=True)
class Conditioning:
    """All that a velocity depends on besides the latent: encoded instruction and sources of B edits of one size."""

    prompt: EncodedPrompt
    source_latents: Tensor
    """(B, M, C) packed, in the model's dtype; several sources one after the other."""
    grids: tuple[Grid, ...]
    """The target's grid, then one for each source; the same for the whole batch, since the positions are."""
    negative: EncodedPrompt | None = None
    """The empty instruction, for an editor with guidance."""

    def __len__(self) -> int:
        return self.source_latents.shape[0]

    def select(self, index: Tensor | Sequence[int]) -> Conditioning:
        """The rows `index` (n,), which may repeat."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.source_latents.device)
        return self.each(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Conditioning:
        """The same on another device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """Change every tensor of all edits."""
        negative = self.negative.each(change) if self.negative else None
        return Conditioning(self.prompt.each(change), change(self.source_latents), self.grids, negative)

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of parts that share their grids (else HPEditError); shorter prompts are padded."""
        grids = parts[0].grids
        if any(part.grids != grids for part in parts):
            raise HPEditError(
                "images of different sizes in one batch",
                hint="batch within one size: the model's positions are shared by the batch",
            )
        negatives = [part.negative for part in parts if part.negative is not None]
        assert len(negatives) in (0, len(parts)), "all parts are of one editor"
        return Conditioning(
            EncodedPrompt.cat([part.prompt for part in parts]),
            torch.cat([part.source_latents for part in parts]),
            grids,
            EncodedPrompt.cat(negatives) if negatives else None,
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """As tensors for safetensors; `from_tensors` gives the same back."""
        return {
            **self.prompt.to_tensors("prompt"),
            **(self.negative.to_tensors("negative") if self.negative else {}),
            "source_latents": self.source_latents.contiguous(),
            "grids": torch.tensor(self.grids, dtype=torch.long),
        }

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> Conditioning:
        """Read what `to_tensors` wrote; a missing tensor is a KeyError."""
        return Conditioning(
            EncodedPrompt.from_tensors(tensors, "prompt"),
            tensors["source_latents"],
            tuple((int(height), int(width)) for height, width in tensors["grids"].tolist()),
            EncodedPrompt.from_tensors(tensors, "negative") if "negative_embeds" in tensors else None,
        )


class Editor(Protocol):
    """An image editor by flow matching. The loop that it lives in stands in the module's docstring."""

    @property
    def fingerprint(self) -> str:
        """Identifies weights, settings and the LoRA in use: edits of two fingerprints are never mixed."""

    @property
    def device(self) -> torch.device:
        """Where the latents live."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's input; latents are float32 always."""

    def encode(self, cases: Sequence[Case]) -> Conditioning:
        """Encode cases of one size; cached by content."""

    def schedule(self, steps: int, conditioning: Conditioning) -> Tensor:
        """(steps + 1,) float32 on the CPU: noise levels from 1 to 0, the pipeline's noise schedule at this size."""

    def initial_noise(self, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        """(B, N, C) float32: the noise that the model's pipeline draws from each seed."""

    def velocity(self, latents: Tensor, s: Tensor, conditioning: Conditioning) -> Tensor:
        """(B, N, C) float32 at latents of the same shape and level s, () or (B,); the gradient flows to the LoRA.

        An editor with guidance returns the guided velocity.
        """

    def decode(self, latents: Tensor, conditioning: Conditioning) -> list[Image.Image]:
        """Images of clean latents (B, N, C)."""


class LoRASettings(Protocol):
    """The `lora` section of a recipe."""

    @property
    def rank(self) -> int:
        """Width of the update."""

    @property
    def alpha(self) -> float:
        """The update is scaled by alpha / rank."""

    @property
    def targets(self) -> Sequence[str] | None:
        """Endings of the names of the linear layers to be adapted; None takes the model family's own."""


class TrainableEditor(Editor, Protocol):
    """An editor whose policy is a LoRA."""

    def add_lora(self, settings: LoRASettings, seed: int) -> None:
        """Attach a new LoRA, which changes nothing yet, in place of any other."""

    def lora_parameters(self) -> dict[str, torch.nn.Parameter]:
        """All that is trained, by name."""

    def set_checkpointing(self, on: bool) -> None:
        """Gradient checkpointing: recompute activations in the backward pass; gradients are the same."""

    def latents(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, N, C) float32: clean latents of images of one size, at the editor's output size."""

    def lora_disabled(self) -> AbstractContextManager[None]:
        """Switch the LoRA off within the block: the editor is its base, the reference of the KL."""

    def save_lora(self, folder: Path, *, comfyui: bool = False) -> None:
        """Write the LoRA so that diffusers' load_lora_weights gives the same pixels."""

    def load_lora(self, folder: Path) -> None:
        """Attach a LoRA from a folder, in place of any other."""

    def offload_encoders(self) -> None:
        """Move the encoders to the CPU; they come back by themselves when a new case is encoded."""
