"""What DiffusionNFT and DPO share: clean latents mixed with fresh noise at levels of the schedule.

x_t = (1 - t) x0 + t eps. Which levels and which noise an edit gets depends on (seed, iteration, group, member) alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpedit.rl.seeds import generator


def draw_levels(levels: Tensor, count: int, seed: int, *purpose: str | int) -> Tensor:
    """(count,) different levels above 0 of a schedule (steps + 1,); all of them where `count` is not smaller."""
    above_zero = levels[:-1]
    order = torch.randperm(len(above_zero), generator=generator(seed, "levels", *purpose))
    return above_zero[order[:count].sort().values]


def draw_noise(shape: Sequence[int], seed: int, *purpose: str | int) -> Tensor:
    """Standard normal noise of `shape`, float32 on the CPU."""
    return torch.randn(tuple(shape), generator=generator(seed, "forward noise", *purpose))


def mix(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t (B, N, C) of x0 and eps (B, N, C) at the levels t (B,)."""
    return torch.lerp(clean, noise, t.to(clean)[:, None, None])
