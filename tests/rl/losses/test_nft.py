"""Identity 6, the formula as it is published, and gradients by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.rl.losses.nft import nft_loss, nft_reward

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}
BETAS = st.floats(0.05, 2.0)
UNIT = st.floats(0.0, 1.0)
LEVELS = st.floats(0.01, 1.0)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(3, 4, 5, dtype=torch.float64, generator=generator) for name in ("v", "v_old", "x0", "noise")
    }


def levels(t):
    return torch.full((3,), t, dtype=torch.float64)


def mean(tensor):
    return tensor.flatten(1).mean(1)


def branches(batch, t, beta):
    """The clean estimates of both branches, and their weights, written as in the paper."""
    t = t[:, None, None]
    x_t = (1 - t) * batch["x0"] + t * batch["noise"]
    plus = x_t - t * (beta * batch["v"] + (1 - beta) * batch["v_old"])
    minus = x_t - t * ((1 + beta) * batch["v_old"] - beta * batch["v"])
    return [(x, mean((x - batch["x0"]).abs()).clamp(min=1e-5)) for x in (plus, minus)]


@settings(max_examples=60, deadline=None)
@given(UNIT, LEVELS, BETAS)
def test_it_is_the_published_formula(batch, r, t, beta):
    t, r = levels(t), levels(r)
    result = nft_loss(**batch, t=t, r=r, beta=beta, advantage_clip=4.0)
    (plus, w_plus), (minus, w_minus) = branches(batch, t, beta)
    positive, negative = mean((plus - batch["x0"]) ** 2) / w_plus, mean((minus - batch["x0"]) ** 2) / w_minus
    torch.testing.assert_close(result.positive, positive, **TOLERANCE)
    torch.testing.assert_close(result.negative, negative, **TOLERANCE)
    torch.testing.assert_close(result.loss, 4.0 * (r * positive + (1 - r) * negative) / beta, **TOLERANCE)
    torch.testing.assert_close(result.drift, mean((batch["v"] - batch["v_old"]) ** 2), **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(UNIT, UNIT, LEVELS, BETAS)
def test_at_the_old_policy_the_loss_does_not_depend_on_r(batch, r, other, t, beta):
    at_old = batch | {"v": batch["v_old"]}
    losses = [nft_loss(**at_old, t=levels(t), r=levels(value), beta=beta).loss for value in (r, other)]
    torch.testing.assert_close(losses[0], losses[1], **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(UNIT, LEVELS, BETAS)
def test_its_gradient_at_the_old_policy(batch, r, t, beta):
    v = batch["v_old"].clone().requires_grad_()
    t, r = levels(t), levels(r)
    nft_loss(**batch | {"v": v}, t=t, r=r, beta=beta, advantage_clip=5.0).loss.sum().backward()
    (estimate, w), _ = branches(batch | {"v": batch["v_old"]}, t, beta)
    factor = 5.0 * (1 - 2 * r) * 2 * t / (w * v[0].numel())
    torch.testing.assert_close(v.grad, factor[:, None, None] * (estimate - batch["x0"]), **TOLERANCE)


def test_no_gradient_at_r_one_half(batch):
    v = batch["v_old"].clone().requires_grad_()
    nft_loss(**batch | {"v": v}, t=levels(0.7), r=levels(0.5), beta=0.3).loss.sum().backward()
    assert v.grad.abs().max() < 1e-15


@settings(max_examples=60, deadline=None)
@given(UNIT, LEVELS, BETAS)
def test_gradient_away_from_the_old_policy_by_hand_with_the_weights_held_still(batch, r, t, beta):
    v, v_old = (batch[name].clone().requires_grad_() for name in ("v", "v_old"))
    t, r = levels(t), levels(r)
    nft_loss(**batch | {"v": v, "v_old": v_old}, t=t, r=r, beta=beta, advantage_clip=3.0).loss.sum().backward()
    (plus, w_plus), (minus, w_minus) = branches(batch, t, beta)
    scale = 3.0 * 2 * t / v[0].numel()
    pull, push = (scale * r / w_plus)[:, None, None], (scale * (1 - r) / w_minus)[:, None, None]
    by_hand = -pull * (plus - batch["x0"]) + push * (minus - batch["x0"])
    torch.testing.assert_close(v.grad, by_hand, **TOLERANCE)
    assert v_old.grad is None


@pytest.mark.parametrize(("r", "toward"), [(1.0, True), (0.6, True), (0.4, False), (0.0, False)])
def test_a_good_edit_is_approached_and_a_bad_one_is_left(batch, r, toward):
    v = batch["v_old"].clone().requires_grad_()
    nft_loss(**batch | {"v": v}, t=levels(0.7), r=levels(r), beta=0.5).loss.sum().backward()
    target = batch["noise"] - batch["x0"]
    before, after = ((tensor - target).square().mean() for tensor in (batch["v_old"], batch["v_old"] - 0.01 * v.grad))
    assert bool(after < before) is toward


def test_an_exact_estimate_has_a_finite_loss_of_zero_and_no_gradient(batch):
    v = (batch["noise"] - batch["x0"]).requires_grad_()
    result = nft_loss(**batch | {"v": v, "v_old": v.detach()}, t=levels(0.7), r=levels(1.0), beta=1.0)
    result.loss.sum().backward()
    assert (result.loss == 0).all()
    assert (v.grad == 0).all()


def test_the_floor_bounds_the_weight(batch):
    v = batch["noise"] - batch["x0"] + 1e-7
    result = nft_loss(**batch | {"v": v, "v_old": v}, t=levels(1.0), r=levels(1.0), beta=1.0)
    torch.testing.assert_close(result.positive, levels(1e-14 / 1e-5), rtol=1e-6, atol=0.0)


def test_bf16_velocities_are_worked_on_in_float32(batch):
    half = {name: tensor.bfloat16() for name, tensor in batch.items()}
    single = {name: tensor.float() for name, tensor in half.items()}
    t, r = levels(0.7).float(), levels(0.8).float()
    result = nft_loss(**half, t=t, r=r, beta=0.3)
    assert result.loss.dtype == torch.float32
    assert torch.equal(result.loss, nft_loss(**single, t=t, r=r, beta=0.3).loss)


def test_reward_of_an_advantage():
    advantage = torch.tensor([-9.0, -5.0, 0.0, 2.5, 5.0, 9.0], dtype=torch.float64)
    assert nft_reward(advantage, 5.0).tolist() == [0.0, 0.0, 0.5, 0.75, 1.0, 1.0]
    assert nft_reward(torch.tensor(float("nan")), 5.0).isnan()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 10.0), st.floats(-1.0, 1.0))
def test_the_first_gradient_is_that_of_the_advantage_whatever_the_clip(clip, share):
    advantage = torch.tensor(share * clip, dtype=torch.float64)
    torch.testing.assert_close(clip * (1 - 2 * nft_reward(advantage, clip)), -advantage, **TOLERANCE)
