"""Every random draw of a run is a function of the recipe's seed and of what it is drawn for.

Nothing depends on how many draws came before, so a resumed run, or one split over other processes, draws the same
numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Give a seed in [0, 2^63) for one purpose, such as (0, "noise", iteration, group, member)."""
    text = ";".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose: the same numbers on every device."""
    return torch.Generator("cpu").manual_seed(derive_seed(seed, *purpose))


def edit_seed(case_id: str, seed: int) -> int:
    """The seed of one case's noise: 63 bits, the same for every model."""
    digest = hashlib.sha256(f"{seed}:{case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


T = TypeVar("T")


def hash_number(*parts: str | int) -> int:
    """A hash_number below 2**64, even over the names: the head of their SHA-256."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big")


def hash_choice(items: Sequence[T], *parts: str | int) -> T:
    """One of the items, each as likely."""
    return items[hash_number(*parts) % len(items)]


def hash_shuffle(items: Iterable[str], *parts: str | int) -> list[str]:
    """The items in a random order, which does not depend on the order in which they are given."""
    return sorted(set(items), key=lambda item: (hash_number(*parts, item), item))
