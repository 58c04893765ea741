"""Global random generators of Python, NumPy and torch (CPU and GPU): seed, save and restore their states.

Our own draws have generators of their own (`hpedit.seeds`). These are for libraries that draw from the global ones: a
resumed run restores their states.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def rng_tensors() -> dict[str, Tensor]:
    """States of the global generators, for a checkpoint; of CUDA that of the current device."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, second = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*map(int, keys), position, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor(float("nan") if second is None else second, dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_rng(states: Mapping[str, Tensor]) -> None:
    """Restore states of `rng_tensors`; without a GPU, or without its state, CUDA's generator is unchanged."""
    torch.set_rng_state(states["torch"])
    *keys, position, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, float(states["numpy_gauss"])))
    version, *words = states["python"].tolist()
    second = float(states["python_gauss"])
    random.setstate((version, tuple(words), None if second != second else second))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextmanager
def forked() -> Iterator[None]:
    """Restore the global generators' states after the block."""
    before = rng_tensors()
    try:
        yield
    finally:
        restore_rng(before)
