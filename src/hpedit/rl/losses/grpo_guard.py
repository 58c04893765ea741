"""GRPO-Guard: importance ratios without drift, steps of equal weight (arXiv 2510.22319, eq. 8 and 12).

    b     = mean((mu - mu_old)^2) / (2 S^2)
    ratio = exp(S (log_prob - log_prob_old + b))
    L     = max(-A ratio, -A clip(ratio, 1 - e, 1 + e)) / (-dt)

For a sample x' = mu_old + S z the plain log-ratio is mean(z (mu - mu_old)) / S - b: always too low by b, so that the
clip hardly ever meets a positive advantage, and wider the smaller S is. Here the exponent is

    S (log_prob - log_prob_old + b) = mean(z (mu - mu_old)),

which is centred at every step. This identity also decides where the gradient flows: `b` carries it, through mu. With b
detached, the gradient away from mu = mu_old would be that of the plain ratio, whose z is the noise as seen from mu and
not the noise that was drawn.

Under Flow-SDE, below s = 1, the velocity enters mu as dt (1 + a^2 / 2) v: after the division by -dt, the gradient in v
has the same factor at every step. Dance-SDE would need another weight, and the log-density of CPS has no S, so that the
identity does not hold: Flow-SDE only.

Normalisation: per sample, no mean taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpedit.rl.losses.grpo import GRPOLoss, clipped_surrogate
from hpedit.rl.losses.precision import batch_mean, is_full_precision


def grpo_guard_loss(
    log_prob: Tensor,
    log_prob_old: Tensor,
    mu: Tensor,
    mu_old: Tensor,
    std: Tensor,
    dt: Tensor,
    advantage: Tensor,
    *,
    clip: float,
) -> GRPOLoss:
    """GRPO-Guard loss per sample; `ratio` is the centred importance ratio.

    Args:
        log_prob: (B,) Flow-SDE's, under the weights being trained; float32 or float64.
        log_prob_old: (B,) as stored by the rollout.
        mu: (B, ...) mean of the step under the weights being trained; carries gradient, in b too.
        mu_old: (B, ...) mean of the step as the rollout had it.
        std: (B, 1, ...) standard deviation S of the step, > 0.
        dt: (B,) s' - s, negative.
        advantage: (B,).
        clip: e > 0. 2e-6 to 4e-6: the exponent is S^2 times that of the plain ratio.
    """
    assert is_full_precision(log_prob, log_prob_old, mu, mu_old), "log-probabilities and means are float32 or float64"
    s = batch_mean(std)
    shift = batch_mean((mu - mu_old.detach()).square()) / (2.0 * s.square())
    ratio = torch.exp(s * (log_prob - log_prob_old.detach() + shift))
    terms = clipped_surrogate(ratio, advantage, clip)
    return GRPOLoss(terms.loss / -dt.to(terms.loss), terms.ratio, terms.clipped)
