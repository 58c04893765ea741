"""The clipped policy-gradient loss of GRPO, for steps of a flow (Flow-GRPO, arXiv 2505.05470).

    ratio = exp(log_prob - log_prob_old)          importance ratio
    L     = max(-A ratio, -A clip(ratio, 1 - e, 1 + e))

Normalisation: per sample, no mean taken; log_prob is already a mean over the latent's dimensions, which is why e is as
    small as 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpedit.rl.losses.precision import is_full_precision


@dataclass(frozen=True, slots=True)
class GRPOLoss:
    """Loss and importance ratio, all (B,); only `loss` carries a gradient."""

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    """Whether the clip took the gradient away."""


def grpo_loss(log_prob: Tensor, log_prob_old: Tensor, advantage: Tensor, *, clip: float) -> GRPOLoss:
    """GRPO loss per sample, from log-probabilities.

    Args:
        log_prob: (B,) under the weights being trained; float32 or float64.
        log_prob_old: (B,) as stored by the rollout, float32: rounding it to bf16 would eat the clip range.
        advantage: (B,).
        clip: e > 0. 1e-4 for edits; with two updates an iteration |ratio - 1| reaches 5e-4 to 1e-3.
    """
    assert is_full_precision(log_prob, log_prob_old), "log-probabilities are float32 or float64"
    return clipped_surrogate(torch.exp(log_prob - log_prob_old.detach()), advantage, clip)


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip: float) -> GRPOLoss:
    """max(-A ratio, -A clip(ratio, 1 - e, 1 + e)) per sample: leaving the clip range earns nothing.

    Args:
        ratio: (B,) importance ratio of the two policies; carries the gradient.
        advantage: (B,).
        clip: e > 0.
    """
    free = -advantage * ratio
    bounded = -advantage * ratio.clamp(1.0 - clip, 1.0 + clip)
    return GRPOLoss(torch.maximum(free, bounded), ratio.detach(), (bounded > free).detach())
