"""What holds for every loss: one number a sample, that does not depend on who else is in the batch."""

import pytest
import torch

from hpedit.rl.losses.dpo import dpo_loss
from hpedit.rl.losses.grpo import grpo_loss
from hpedit.rl.losses.grpo_guard import grpo_guard_loss
from hpedit.rl.losses.kl import kl_to_base, velocity_kl
from hpedit.rl.losses.nft import nft_loss, nft_reward

BATCH, DIMS = 8, (4, 5)


def grpo(w, d):
    return grpo_loss((d["x"] * w).flatten(1).mean(1), d["scalar"], d["advantage"], clip=0.1).loss


def grpo_guard(w, d):
    log_prob = -(d["x"] - d["y"] * w).square().flatten(1).mean(1)
    old = -(d["x"] - d["y"]).square().flatten(1).mean(1)
    return grpo_guard_loss(log_prob, old, d["y"] * w, d["y"], d["std"], d["dt"], d["advantage"], clip=0.1).loss


def nft(w, d):
    r = nft_reward(d["advantage"])
    return nft_loss(d["x"] * w, d["x"], d["y"], d["z"], d["t"], r, beta=0.5).loss


def dpo(w, d):
    return dpo_loss(d["x"] * w, d["y"] * w, d["x"], d["y"], d["z"], d["z"] - d["x"], beta=3.0).loss


def step_kl(w, d):
    return kl_to_base(d["x"] * w, d["x"], d["std"], d["dt"])


def base_kl(w, d):
    return velocity_kl(d["x"] * w, d["x"])


LOSSES = [grpo, grpo_guard, nft, dpo, step_kl, base_kl]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(BATCH, *DIMS, dtype=torch.float64, generator=generator) for name in "xyz"}
    for name in ("scalar", "advantage"):
        tensors[name] = torch.randn(BATCH, dtype=torch.float64, generator=generator)
    for name in ("t", "std"):
        tensors[name] = 0.2 + 0.6 * torch.rand(BATCH, dtype=torch.float64, generator=generator)
    tensors["scalar"] = 0.01 * tensors["scalar"]
    tensors["std"] = tensors["std"][:, None, None]
    tensors["dt"] = -0.1 * tensors["t"]
    return tensors


@pytest.fixture
def weights():
    """Stands for the network: one weight a dimension, a little off the policy that made the samples."""
    generator = torch.Generator().manual_seed(1)
    return (1 + 0.05 * torch.randn(*DIMS, dtype=torch.float64, generator=generator)).requires_grad_()


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_one_finite_number_a_sample(loss, data, weights):
    values = loss(weights, data)
    assert values.shape == (BATCH,)
    assert values.isfinite().all()
    assert values.requires_grad


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_T6_small_batches_accumulated_equal_one_large_batch(loss, data, weights, size):
    whole = loss(weights, data).sum() / BATCH
    whole.backward()
    expected, weights.grad, total = weights.grad, None, 0.0
    for rows in torch.arange(BATCH).split(size):
        part = loss(weights, {name: tensor[rows] for name, tensor in data.items()}).sum() / BATCH
        part.backward()
        total += part.item()
    assert total == pytest.approx(whole.item(), rel=1e-12, abs=1e-12)
    torch.testing.assert_close(weights.grad, expected, rtol=1e-12, atol=1e-12)
    assert weights.grad.norm() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_nan_is_passed_on_and_stays_in_its_sample(loss, data, weights):
    clean = loss(weights, data)
    for name in "xy":
        data[name] = data[name].clone()
        data[name][3] = float("nan")
    dirty = loss(weights, data)
    assert dirty[3].isnan()
    others = [row for row in range(BATCH) if row != 3]
    assert torch.equal(dirty[others], clean[others])


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss is not nft])
def test_gradient_is_that_of_finite_differences(loss, data, weights):
    """Not NFT's, whose weights w carry none on purpose: test_nft has it by hand."""
    assert torch.autograd.gradcheck(lambda w: loss(w, data), (weights,), eps=1e-6, atol=1e-6)
