"""Edit cases by the deterministic ODE (Euler) sampler: cases in, images out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor

from hpedit.editors.protocol import Conditioning, Editor
from hpedit.records import Case

Level = float | Tensor
"""A noise level: one number, or (B,), one for each sample."""


def edit_image(editor: Editor, image: Image.Image, instruction: str, *, seed: int = 0, steps: int = 8) -> Image.Image:
    """Edit one picture.

    Returns:
        RGB at the editor's own output size: its resolution squared in pixels, in the picture's aspect ratio with sides
        rounded to 32 px. It is not scaled back to the picture's size: that would blur it or make up detail.
    """
    # The picture belongs to no task and no split; a case needs the names all the same.
    case = Case("free", "free", instruction, (image.convert("RGB"),), "free")
    return edit_cases(editor, [case], [seed], steps)[0]


@torch.no_grad()
def edit_cases(
    editor: Editor,
    cases: Sequence[Case],
    seeds: Sequence[int],
    steps: int,
    *,
    batch_size: int = 16,
    advance: Callable[[int], None] | None = None,
) -> list[Image.Image]:
    """One edit for each case, batched within one size.

    Args:
        editor: The editor, with its LoRA on or off as the caller has set it.
        cases: (n,) cases of any sizes.
        seeds: (n,) one for each case; the same seed gives the same initial noise as the model's own pipeline.
        steps: Sampling steps.
        batch_size: Edits at once; it changes the last bits of a float, and thus now and then a pixel by 1/255.
        advance: Called with the number of edits just done.
    """
    conditionings = [editor.encode([case]) for case in cases]
    images: dict[int, Image.Image] = {}
    for bucket in group_by_size(conditionings):
        for start in range(0, len(bucket), batch_size):
            chosen = bucket[start : start + batch_size]
            conditioning = Conditioning.cat([conditionings[i] for i in chosen])
            noise = editor.initial_noise(conditioning, [seeds[i] for i in chosen])
            latents = sample_ode(editor, noise, conditioning, steps)
            images.update(zip(chosen, editor.decode(latents, conditioning), strict=True))
            if advance is not None:
                advance(len(chosen))
    return [images[i] for i in range(len(cases))]


@torch.no_grad()
def sample_ode(editor: Editor, noise: Tensor, conditioning: Conditioning, steps: int) -> Tensor:
    """Clean latents (B, N, C) from noise (B, N, C) by Euler steps."""
    levels = editor.schedule(steps, conditioning)
    x = noise
    for s, s_next in pairwise(levels):
        x = euler_step(x, editor.velocity(x, s, conditioning), s, s_next)
    return x


def euler_step(x: Tensor, v: Tensor, s: Level, s_next: Level) -> Tensor:
    """One step of the probability-flow ODE, x + (s' - s) v (Euler), in float64 if x is that, else in float32.

    Args:
        x: (B, ...) sample at level s.
        v: (B, ...) velocity there.
        s: Noise level in (0, 1], a number or (B,).
        s_next: Next level in [0, s).
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    x = x.to(dtype)
    return x + (as_level(s_next, x) - as_level(s, x)) * v.to(dtype)


def as_level(level: Level, x: Tensor) -> Tensor:
    """A level as a tensor that broadcasts over x: (B, 1, ...), or (1, 1, ...) of one number."""
    return torch.as_tensor(level, dtype=x.dtype).to(x.device).reshape(-1, *(1,) * (x.ndim - 1))


def group_by_size(conditionings: Sequence[Conditioning]) -> list[list[int]]:
    """Bucket conditionings by size: indices of those that can share a batch, in order of first appearance."""
    buckets: dict[object, list[int]] = {}
    for index, conditioning in enumerate(conditionings):
        buckets.setdefault(conditioning.grids, []).append(index)
    return list(buckets.values())
