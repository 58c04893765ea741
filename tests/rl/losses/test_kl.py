"""Identity 8 for both distances to the base."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.rl.flow_sde import sde_step
from hpedit.rl.losses.kl import kl_to_base, velocity_kl

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}
DT = torch.tensor([-0.1, -0.2], dtype=torch.float64)
STD = torch.tensor([0.4, 0.3], dtype=torch.float64)[:, None, None]
KINDS = {"step": lambda new, base: kl_to_base(new, base, STD, DT), "velocity": velocity_kl}


@pytest.fixture
def base():
    return torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_base_it_is_zero_with_zero_gradient(base, kind):
    new = base.clone().requires_grad_()
    kl = KINDS[kind](new, base)
    kl.sum().backward()
    assert (kl == 0).all()
    assert (new.grad == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_a_gradient_and_the_base_has_none(base, kind):
    new, reference = (base + 0.1).requires_grad_(), base.clone().requires_grad_()
    kl = KINDS[kind](new, reference)
    kl.sum().backward()
    weight = 1 / (2 * STD.square() / -DT[:, None, None]) if kind == "step" else torch.ones_like(STD)
    torch.testing.assert_close(kl, 0.01 * weight.flatten(), **TOLERANCE)
    torch.testing.assert_close(new.grad, weight * 2 * 0.1 / 12 * torch.ones_like(base), **TOLERANCE)
    assert reference.grad is None


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 0.9), st.floats(0.2, 0.9), st.floats(0.1, 1.5))
def test_the_step_kl_is_that_of_two_normal_distributions_times_the_step(s, share, a):
    """KL(N(mu, S) || N(mu_ref, S)) = (mu - mu_ref)^2 / (2 S^2); Flow-GRPO's leaves out the step's length in S^2."""
    generator = torch.Generator().manual_seed(0)
    x, v, v_ref = (torch.randn(2, 12, dtype=torch.float64, generator=generator) for _ in range(3))
    new, reference = (sde_step(x, velocity, s, share * s, a, z=x) for velocity in (v, v_ref))
    dt = torch.full((2,), share * s - s, dtype=torch.float64)
    ours = kl_to_base(new.mu, reference.mu, reference.std, dt)
    normals = [torch.distributions.Normal(step.mu, step.std.expand_as(step.mu)) for step in (new, reference)]
    exact = torch.distributions.kl_divergence(*normals).mean(1)
    torch.testing.assert_close(ours, exact * -dt, rtol=1e-10, atol=1e-12)


def test_bf16_velocities_are_worked_on_in_float32(base):
    kl = velocity_kl((base + 1).bfloat16(), base.bfloat16())
    assert kl.dtype == torch.float32
