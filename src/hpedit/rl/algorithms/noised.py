"""What DiffusionNFT and DPO share: clean latents mixed with fresh noise at levels of the schedule.

x_t = (1 - t) x0 + t eps. Which levels and which noise an edit gets depends on (seed, iteration, group, member) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.rl.rollout import row_chunks
from hpedit.seeds import generator


@dataclass(frozen=True, slots=True)
class Terms:
    """A chunk of what is trained on: each item, an edit or a pair, at a few noise levels."""

    items: Tensor
    """(j,) long: place of the item among those that were asked for."""
    t: Tensor
    """(j,) noise levels, on the CPU."""
    noise: Tensor
    """(j, N, C) on the CPU."""


def draw_terms(
    schedule: Tensor, levels: int, keys: Sequence[Sequence[int]], shape: Sequence[int], seed: int, iteration: int,
    *, chunk: int,
) -> Iterator[Terms]:  # fmt: skip
    """All levels of all items, at most `chunk` at once.

    Args:
        schedule: (steps + 1,) noise levels of the sampler.
        levels: How many of them each item is trained at.
        keys: What names each item within the iteration.
        shape: (N, C) of an edit's latents.
        seed: The recipe's.
        iteration: Number of the iteration.
        chunk: Terms at once.
    """
    drawn = [
        (item, float(t), number)
        for item, key in enumerate(keys)
        for number, t in enumerate(draw_levels(schedule, levels, seed, iteration, *key))
    ]
    for part in row_chunks(torch.arange(len(drawn)), chunk):
        chosen = [drawn[place] for place in part.tolist()]
        noise = [draw_noise(shape, seed, iteration, *keys[item], number) for item, _, number in chosen]
        items, t = ([term[column] for term in chosen] for column in (0, 1))
        yield Terms(torch.tensor(items), torch.tensor(t), torch.stack(noise))


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
