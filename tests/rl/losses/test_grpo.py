"""The clipped loss: its formula, where its gradient ends, and what precision it needs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.rl.flow_sde import STOCHASTIC, sde_step
from hpedit.rl.losses.grpo import grpo_loss


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


@pytest.mark.parametrize("kind", list(STOCHASTIC))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unchanged_weights_give_a_ratio_of_exactly_1(kind, dtype):
    generator = torch.Generator().manual_seed(0)
    x, v, z = (torch.randn(3, 5, 4, dtype=dtype, generator=generator) for _ in range(3))
    old = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, z=z)
    new = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, x_next=old.x_next)
    assert (grpo_loss(new.log_prob, old.log_prob, torch.ones(3, dtype=dtype), clip=1e-5).ratio == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.3, 0.3), st.floats(-5.0, 5.0), st.floats(1e-5, 0.2))
def test_it_is_the_published_formula_with_its_gradient(shift, advantage, clip):
    log_prob = torch.tensor([shift], dtype=torch.float64, requires_grad=True)
    result = grpo_loss(log_prob, torch.zeros_like(log_prob), torch.tensor([advantage], dtype=torch.float64), clip=clip)
    result.loss.sum().backward()
    ratio = math.exp(shift)
    expected = max(-advantage * ratio, -advantage * min(max(ratio, 1 - clip), 1 + clip))
    assert result.loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert log_prob.grad.item() == pytest.approx(0.0 if result.clipped else -advantage * ratio, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("clip", [1e-4, 1e-5])
def test_float32_holds_the_clip_range_where_bf16_does_not(clip):
    assert torch.tensor(1 + clip).bfloat16() == 1
    log_prob = torch.tensor([2 * clip, 0.5 * clip], requires_grad=True)
    result = grpo_loss(log_prob, torch.zeros(2), torch.ones(2), clip=clip)
    result.loss.sum().backward()
    assert result.clipped.tolist() == [True, False]
    assert log_prob.grad.tolist() == pytest.approx([0.0, -1.0], abs=2 * clip)


def test_half_precision_is_refused_because_its_rounding_is_larger_than_the_clip_range():
    log_prob = torch.tensor([-1.2345])
    assert (log_prob - log_prob.bfloat16()).abs() > 1e-4
    with pytest.raises(AssertionError, match="float32"):
        grpo_loss(log_prob, log_prob.bfloat16(), torch.ones(1), clip=1e-4)
