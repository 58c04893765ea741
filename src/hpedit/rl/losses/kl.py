"""KL penalty: distance of the policy from its base, per sample and with a gradient.

The base is the same model with its LoRA switched off, never a second copy. Weight 0 means that no reference forward is
run at all.

Normalisation: per sample, a mean over the dimensions of a sample.
"""

from __future__ import annotations

from torch import Tensor

from hpedit.rl.losses.precision import at_least_float32, batch_mean


def kl_to_base(mu: Tensor, mu_ref: Tensor, std: Tensor, dt: Tensor) -> Tensor:
    """KL of a stochastic step: mean((mu - mu_ref)^2) / (2 g^2), g = S / sqrt(-dt), as in Flow-GRPO (arXiv 2505.05470).

    Args:
        mu: (B, ...) mean of the step under the policy; carries the gradient.
        mu_ref: (B, ...) mean under the base.
        std: (B, 1, ...) standard deviation S of the step.
        dt: (B,) s' - s, negative.

    Returns:
        (B,) 0 with zero gradient where the policy equals its base.
    """
    g_squared = batch_mean(std).square() / -dt.to(std)
    return batch_mean((mu - mu_ref.detach()).square()) / (2.0 * g_squared)


def velocity_kl(v: Tensor, v_ref: Tensor) -> Tensor:
    """KL of velocities, mean((v - v_ref)^2), as in DiffusionNFT (arXiv 2509.16117), in at least float32.

    It needs no step of a sampler: it serves the losses on the forward process.

    Args:
        v: (B, ...) velocity under the policy; carries the gradient.
        v_ref: (B, ...) velocity at the same point under the base.

    Returns:
        (B,) 0 with zero gradient where the policy equals its base.
    """
    return batch_mean((at_least_float32(v) - at_least_float32(v_ref.detach())).square())
