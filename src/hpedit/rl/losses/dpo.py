"""Diffusion-DPO for flows: preferring the better of two edits of one case, without a reward (arXiv 2311.12908, eq. 14).

    e      = mean((v - (eps - x0))^2)
    margin = -B/2 [(e_w - e_w_ref) - (e_l - e_l_ref)]
    L      = -log sigmoid(margin)

Winner and loser get the same t and the same eps, the reference is the model with its LoRA switched off. B holds the
policy to its base: the margin is that of an implicit reward. No weight over t, as in Flow-DPO with a constant B
(arXiv 2501.13918). At the reference L = log 2.

Normalisation: per pair; e is a mean over the dimensions of a sample, so that B does not depend on the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from hpedit.rl.losses.precision import at_least_float32, batch_mean


@dataclass(frozen=True, slots=True)
class DPOLoss:
    """All (B,), one a pair; only `loss` carries a gradient."""

    loss: Tensor
    margin: Tensor
    """Implicit reward of the winner less that of the loser; above 0 the policy agrees with the preference more than its
    base does."""
    winner_change: Tensor
    """e_w - e_w_ref. A margin that grows while this is above 0 comes from unlearning both edits: quality suffers."""
    loser_change: Tensor
    """e_l - e_l_ref."""


def dpo_loss(
    v_winner: Tensor,
    v_loser: Tensor,
    v_winner_ref: Tensor,
    v_loser_ref: Tensor,
    target_winner: Tensor,
    target_loser: Tensor,
    *,
    beta: float,
) -> DPOLoss:
    """Diffusion-DPO loss per pair, in at least float32.

    Args:
        v_winner: (B, ...) velocity at the noised winner under the weights being trained; carries the gradient.
        v_loser: (B, ...) the same for the loser.
        v_winner_ref: (B, ...) velocity under the reference.
        v_loser_ref: (B, ...) the same for the loser.
        target_winner: (B, ...) eps - x0 of the winner.
        target_loser: (B, ...) eps - x0 of the loser, with the winner's eps.
        beta: B > 0; 2000 is what Diffusion-DPO found best for SD 1.5 (5000 for SDXL).
    """
    winner = _error_change(v_winner, v_winner_ref, target_winner)
    loser = _error_change(v_loser, v_loser_ref, target_loser)
    margin = -0.5 * beta * (winner - loser)
    return DPOLoss(-logsigmoid(margin), margin.detach(), winner.detach(), loser.detach())


def _error_change(v: Tensor, v_ref: Tensor, target: Tensor) -> Tensor:
    """(B,) e - e_ref, as mean((v - v_ref) (v + v_ref - 2 target)): exactly 0 at the reference, no digits cancelled."""
    v, v_ref, target = (at_least_float32(tensor) for tensor in (v, v_ref.detach(), target.detach()))
    return batch_mean((v - v_ref) * (v + v_ref - 2.0 * target))
