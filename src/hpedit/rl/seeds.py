"""Every random draw of a run is a function of the recipe's seed and of what it is drawn for.

Nothing depends on how many draws came before, so a resumed run, or one split over other processes, draws the same
numbers.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Give a seed in [0, 2^63) for one purpose, such as (0, "noise", iteration, group, member)."""
    text = ";".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose: the same numbers on every device."""
    return torch.Generator("cpu").manual_seed(derive_seed(seed, *purpose))
