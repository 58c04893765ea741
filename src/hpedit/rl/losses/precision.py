"""Precision of losses: float32, or float64 where their inputs are.

bf16 keeps three digits: 1 + 1e-4 is 1 in it, and the clip range of an edit's policy gradient is gone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same numbers in float32 or wider, with their gradient: for a velocity as the network gave it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def is_full_precision(*tensors: Tensor) -> bool:
    """Whether no half precision is among them: a rounded log-probability can't be repaired by a cast."""
    return all(tensor.dtype in (torch.float32, torch.float64) for tensor in tensors)


def batch_mean(tensor: Tensor) -> Tensor:
    """(B,) mean over all dimensions but the first."""
    return tensor.flatten(1).mean(1)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...) of the precision and on the device of `like`, so that it broadcasts over it."""
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))
