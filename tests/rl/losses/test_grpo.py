"""The clipped loss and the KL to the base."""

import pytest
import torch

from hpedit.rl.losses.grpo import grpo_loss
from hpedit.rl.losses.kl import kl_to_base


def test_at_unchanged_weights_the_loss_is_minus_the_advantage_and_its_gradient_that_of_log_prob():
    log_prob = torch.tensor([-0.3, -0.4], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([2.0, -1.0], dtype=torch.float64)
    result = grpo_loss(log_prob, log_prob.detach(), advantage, clip=1e-4)
    result.loss.sum().backward()
    assert torch.equal(result.loss.detach(), -advantage)
    assert torch.equal(log_prob.grad, -advantage)
    assert (result.ratio == 1).all()
    assert not result.clipped.any()


@pytest.mark.parametrize(
    ("shift", "advantage", "clipped"),
    [(1e-3, 1.0, True), (-1e-3, 1.0, False), (-1e-3, -1.0, True), (1e-3, -1.0, False)],
)
def test_the_clip_takes_the_gradient_only_from_what_already_went_far_enough(shift, advantage, clipped):
    log_prob = torch.tensor([shift], requires_grad=True)
    result = grpo_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), clip=1e-4)
    result.loss.sum().backward()
    assert bool(result.clipped) is clipped
    assert (log_prob.grad == 0).item() is clipped


def test_identity_8_kl_has_a_gradient_and_is_zero_with_zero_gradient_at_the_base():
    base = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    std, dt = torch.full((2, 1, 1), 0.4, dtype=torch.float64), torch.full((2,), -0.1, dtype=torch.float64)
    mu = base.clone().requires_grad_()
    at_base = kl_to_base(mu, base, std, dt)
    at_base.sum().backward()
    assert (at_base == 0).all()
    assert (mu.grad == 0).all()
    mu.grad = None
    away = kl_to_base(mu + 0.1, base, std, dt)
    away.sum().backward()
    g_squared = 0.4**2 / 0.1
    assert away.tolist() == pytest.approx([0.01 / (2 * g_squared)] * 2)
    assert (mu.grad != 0).all()
