"""Seeds and hash-based random choices: every draw is a function of a seed and of what it is drawn for.

Nothing depends on how many draws came before, so a resumed run, or one split over other processes or chunks, draws the
same numbers. No torch until a generator is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def hash_64(text: str) -> int:
    """Hash a text to an integer in [0, 2^64): the first 8 bytes of its SHA-256, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Derive a seed in [0, 2^63) for one purpose, such as (0, "noise", iteration, group, member)."""
    # torch and numpy take signed 64-bit seeds: one bit is dropped.
    return hash_64(";".join(str(part) for part in (seed, *purpose))) >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Make a torch CPU generator for one purpose; on the CPU, since it draws the same numbers for every device."""
    import torch

    return torch.Generator("cpu").manual_seed(derive_seed(seed, *purpose))


def edit_seed(case_id: str, seed: int) -> int:
    """Derive the noise seed in [0, 2^63) of one case's edit, the same for every model: comparisons are paired."""
    return hash_64(f"{seed}:{case_id}") >> 1


def hash_number(*parts: str | int) -> int:
    """Hash names to an integer in [0, 2^64)."""
    return hash_64(json.dumps(parts))


def hash_choice(items: Sequence[T], *parts: str | int) -> T:
    """Choose one of the items by hash, each equally likely."""
    return items[hash_number(*parts) % len(items)]


def hash_shuffle(items: Iterable[str], *parts: str | int) -> list[str]:
    """Shuffle distinct items by hash; the result does not depend on the order in which they are given."""
    return sorted(set(items), key=lambda item: (hash_number(*parts, item), item))
