"""DiffusionNFT: learning from good and bad edits on the forward process (arXiv 2509.16117).

    x_t  = (1 - t) x0 + t eps                                     fresh eps, any t: no trajectory is stored
    v+   = b v + (1 - b) v_old,   v- = (1 + b) v_old - b v         what is good, and its mirror image about v_old
    x0+- = x_t - t v+-,           w+- = max(mean|x0+- - x0|, 1e-5) without gradient
    L    = c [r mean((x0+ - x0)^2) / w+  +  (1 - r) mean((x0- - x0)^2) / w-] / b

An edit with r > 1/2 pulls v toward it, one with r < 1/2 pushes v away. At v = v_old the loss does not depend on r, and
its gradient in v is c (1 - 2r) 2t (x0_hat - x0) / (w D), D the dimensions of a sample: zero at r = 1/2.

The KL of the recipe (weight 1e-4) is `kl.velocity_kl`; it is not part of this loss. `v_old` comes from a second adapter
that follows the trained one once an epoch.

Normalisation: per sample, a mean over the dimensions of a sample, none over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hpedit.rl.losses.precision import at_least_float32, batch_mean, per_sample

ADVANTAGE_CLIP = 5.0
"""c, as in the paper's code and in Edit-R1's."""


@dataclass(frozen=True, slots=True)
class NFTLoss:
    """All (B,); only `loss` carries a gradient."""

    loss: Tensor
    positive: Tensor
    """mean((x0+ - x0)^2) / w+, before its weight c r / b."""
    negative: Tensor
    """mean((x0- - x0)^2) / w-, before its weight c (1 - r) / b."""
    drift: Tensor
    """mean((v - v_old)^2): how far the policy has moved from the one that made the edits."""


def nft_reward(advantage: Tensor, clip: float = ADVANTAGE_CLIP) -> Tensor:
    """Weight of an edit's good branch, r = clamp(A / (2c) + 1/2, 0, 1).

    Args:
        advantage: Any shape, in standard deviations. NaN stays NaN.
        clip: c > 0.

    Returns:
        Same shape, in [0, 1]; 1/2 where the advantage is 0: no gradient at v = v_old.
    """
    return (advantage / (2.0 * clip) + 0.5).clamp(0.0, 1.0)


def nft_loss(
    v: Tensor,
    v_old: Tensor,
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    r: Tensor,
    *,
    beta: float,
    advantage_clip: float = ADVANTAGE_CLIP,
    floor: float = 1e-5,
) -> NFTLoss:
    """NFT loss per sample, in at least float32.

    Args:
        v: (B, ...) velocity at (x_t, t) under the weights being trained; the only one that carries a gradient.
        v_old: (B, ...) under the policy that made the edits.
        x0: (B, ...) latent of the edit, clean.
        noise: (B, ...) the eps that x_t was made with.
        t: (B,) noise level in (0, 1].
        r: (B,) in [0, 1], of `nft_reward`.
        beta: b > 0, the restraint: it leaves the gradient at v_old as it is; without w, the optimum lies 2 / b times
            the paper's improvement direction away from v_old. 1 makes v+ = v.
        advantage_clip: c, the same that made r: so that c (1 - 2r) = -A, whatever c.
        floor: Smallest w: keeps the loss bounded where the estimate is exact.
    """
    v, v_old, x0, noise = (at_least_float32(tensor) for tensor in (v, v_old.detach(), x0.detach(), noise.detach()))
    # x_t - t v+ - x0 = t (eps - x0 - v+): written so, small errors don't drown in the size of x_t.
    target, level, r = noise - x0, per_sample(t, v), r.to(v)
    positive = _weighted_error(level * (target - (beta * v + (1.0 - beta) * v_old)), floor)
    negative = _weighted_error(level * (target - ((1.0 + beta) * v_old - beta * v)), floor)
    loss = advantage_clip * (r * positive + (1.0 - r) * negative) / beta
    return NFTLoss(loss, positive.detach(), negative.detach(), batch_mean((v - v_old).square()).detach())


def _weighted_error(error: Tensor, floor: float) -> Tensor:
    """(B,) mean square of the clean estimate's error over its mean size, the latter without gradient."""
    size = batch_mean(error.detach().abs()).clamp(min=floor)
    return batch_mean(error.square()) / size
