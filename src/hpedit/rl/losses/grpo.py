"""The clipped policy-gradient loss of GRPO, for steps of a flow (Flow-GRPO, arXiv 2505.05470).

    ratio = exp(log_prob - log_prob_old)
    L     = max(-A ratio, -A clip(ratio, 1 - e, 1 + e))

Normalisation: per sample, no mean taken; log_prob is already a mean over the latent's dimensions, which is why e is as
    small as 1e-4.
Non-finite values are passed on: the trainer stops on them and says where.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GRPOLoss:
    """All (B,); only `loss` carries a gradient."""

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    """Whether the clip took the gradient away."""


def grpo_loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, *, clip: float) -> GRPOLoss:
    """Loss per sample.

    Args:
        log_prob: (B,) under the weights being trained.
        log_prob_old: (B,) as stored by the rollout, float32: rounding it to bf16 would eat the clip range.
        advantage: (B,).
        clip: e > 0. 1e-4 for edits; with two updates an iteration |ratio - 1| reaches 5e-4 to 1e-3.
    """
    ratio = torch.exp(log_prob - log_prob_old.detach())
    free = -advantage * ratio
    bounded = -advantage * ratio.clamp(1.0 - clip, 1.0 + clip)
    return GRPOLoss(torch.maximum(free, bounded), ratio.detach(), (bounded > free).detach())
