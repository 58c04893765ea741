"""Distance of the policy from its base, per sample and with a gradient.

The base is the same model with its LoRA switched off, never a second copy. Weight 0 means that no reference forward is
run at all.
"""

from __future__ import annotations

from torch import Tensor


def kl_to_base(mu: Tensor, mu_ref: Tensor, std: Tensor, dt: Tensor) -> Tensor:
    """mean((mu - mu_ref)^2) / (2 g^2) with g = S / sqrt(-dt), as Flow-GRPO weighs it (arXiv 2505.05470).

    Args:
        mu: (B, ...) mean of the step under the policy; carries the gradient.
        mu_ref: (B, ...) mean under the base.
        std: (B, 1, ...) standard deviation S of the step.
        dt: (B,) s' - s, negative.

    Returns:
        (B,) 0 with zero gradient where the policy equals its base.
    """
    g_squared = std.flatten(1).mean(1).square() / -dt.to(std)
    return (mu - mu_ref.detach()).square().flatten(1).mean(1) / (2.0 * g_squared)
