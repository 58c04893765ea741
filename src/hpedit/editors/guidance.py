"""Classifier-free guidance: combine the velocities with and without the instruction.

Off (scale 1) by default: it costs a second forward, and a public trainer of edits collapses with it.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.linalg import vector_norm

Rule = Literal["plain", "rescaled"]


def apply_guidance(positive: Tensor, negative: Tensor, scale: float, rule: Rule) -> Tensor:
    """Guided velocity negative + scale (positive - negative), as the model's pipeline in diffusers has it.

    Args:
        positive: (B, N, C) velocity under the instruction.
        negative: (B, N, C) velocity under the empty instruction.
        scale: w; 1 gives `positive` up to rounding.
        rule: "plain" (Imagen, arXiv 2205.11487, equation 2) or "rescaled": each token is brought back to the length
            that it has in `positive` (Qwen-Image), so that a large w does not saturate the picture. A token that is
            all zeros stays so instead of becoming NaN.

    Returns:
        (B, N, C)
    """
    combined = negative + scale * (positive - negative)
    if rule == "plain":
        return combined
    length = vector_norm(combined, dim=-1, keepdim=True)
    wanted = vector_norm(positive, dim=-1, keepdim=True)
    guided: Tensor = combined * (wanted / length.masked_fill(length == 0, 1.0))
    return guided
