"""Identities 1-4 of the step kernel, in float64 unless said otherwise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from hpedit.errors import HPEditError
from hpedit.rl.flow_sde import DYNAMICS, STOCHASTIC, sde_step

TOLERANCE = {"rtol": 0.0, "atol": 1e-12}
LEVELS = (
    st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-3)
)
"""s' < s"""
NOISE = st.floats(0.05, 1.5)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x, v, z = (torch.randn(3, 5, 4, dtype=torch.float64, generator=generator) for _ in range(3))
    return x, v, z


def published_flow_sde(x, v, s, s_next, a, sigma_max=None):
    """Flow-GRPO's long form, with the coefficients of x and v written out; sigma_max is the schedule's second level."""
    dt, std = s_next - s, math.sqrt(s / (1 - (sigma_max if s == 1 else s))) * a
    return x * (1 + std**2 / (2 * s) * dt) + v * (1 + std**2 * (1 - s) / (2 * s)) * dt, std * math.sqrt(-dt)


def published_dance_sde(x, v, s, s_next, eta):
    """DanceGRPO's long form, by the score of the clean estimate."""
    clean = x - s * v
    score = -(x - clean * (1 - s)) / s**2
    return x + (s_next - s) * v - 0.5 * eta**2 * score * (s_next - s), eta * math.sqrt(s - s_next)


@pytest.mark.parametrize(("kind", "published"), [("flow_sde", published_flow_sde), ("dance_sde", published_dance_sde)])
@pytest.mark.parametrize(("s", "s_next"), [(0.9, 0.7), (0.3, 0.05)])
def test_published_long_forms(batch, kind, published, s, s_next):
    x, v, z = batch
    step = sde_step(x, v, s, s_next, 0.8, kind=kind, z=z)
    mu, std = published(x, v, s, s_next, 0.8)
    torch.testing.assert_close(step.mu, mu, **TOLERANCE)
    torch.testing.assert_close(step.x_next, mu + std * z, **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(LEVELS, NOISE)
def test_at_any_levels_and_noise(levels, a):
    s_next, s = levels
    x, v = (torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(2))
    for kind, published in (("flow_sde", published_flow_sde), ("dance_sde", published_dance_sde)):
        step = sde_step(x, v, s, s_next, a, kind=kind, z=torch.zeros_like(x))
        mu, std = published(x, v, s, s_next, a)
        torch.testing.assert_close(step.mu, mu, rtol=1e-12, atol=1e-12)
        assert step.std.item() == pytest.approx(std, rel=1e-12)


def test_at_the_first_level_with_the_second_in_the_denominator(batch):
    x, v, z = batch
    step = sde_step(x, v, 1.0, 0.9, 0.8, z=z)
    mu, std = published_flow_sde(x, v, 1.0, 0.9, 0.8, sigma_max=0.9)
    torch.testing.assert_close(step.x_next, mu + std * z, **TOLERANCE)


@pytest.mark.parametrize("kind", DYNAMICS)
def test_no_noise_is_the_euler_step(batch, kind):
    x, v, _ = batch
    step = sde_step(x, v, 0.9, 0.7, 0.0, kind=kind)
    assert torch.equal(step.x_next, x + (torch.tensor(0.7, dtype=x.dtype) - 0.9) * v)


def test_the_limit_of_small_noise_is_the_euler_step(batch):
    x, v, z = batch
    for kind in STOCHASTIC:
        torch.testing.assert_close(sde_step(x, v, 0.9, 0.7, 1e-14, kind=kind, z=z).x_next, x - 0.2 * v, **TOLERANCE)


@pytest.mark.parametrize("a", [0.1, 0.5, 0.999, 1.0])
def test_cps_keeps_the_noise_of_the_level(batch, a):
    x, v, z = batch
    step = sde_step(x, v, 0.9, 0.7, a, kind="cps", z=z)
    clean, noise = x - 0.9 * v, x + 0.1 * v
    kept = (step.mu - 0.3 * clean) / noise
    torch.testing.assert_close(kept.square() + step.std**2, torch.full_like(x, 0.49), **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(LEVELS, st.floats(0.0, 1.0, exclude_min=True))
def test_cps_keeps_the_total_variance_for_every_a(levels, a):
    s_next, s = levels
    # Where the clean estimate is 0 and the noise estimate 1, mu is the noise that is kept; and the other way round.
    pure_noise, pure_image = (torch.full((1, 1), value, dtype=torch.float64) for value in (s, 1.0 - s))
    kept = sde_step(pure_noise, torch.ones_like(pure_noise), s, s_next, a, kind="cps", z=torch.zeros_like(pure_noise))
    clean = sde_step(pure_image, -torch.ones_like(pure_image), s, s_next, a, kind="cps", z=torch.zeros_like(pure_image))
    assert (kept.mu.square() + kept.std.square()).item() == pytest.approx(s_next**2, abs=1e-12)
    assert clean.mu.item() == pytest.approx(1.0 - s_next, abs=1e-12)


@pytest.mark.parametrize("kind", ["flow_sde", "dance_sde"])
def test_log_prob_is_that_of_the_normal_distribution_T5(batch, kind):
    x, v, z = batch
    step = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, z=z)
    expected = Normal(step.mu, step.std.expand_as(step.mu)).log_prob(step.x_next).flatten(1).mean(1)
    torch.testing.assert_close(step.log_prob, expected, **TOLERANCE)


def test_log_prob_of_cps_is_the_mean_square_without_its_variance(batch):
    x, v, z = batch
    step = sde_step(x, v, 0.9, 0.7, 0.8, kind="cps", z=z)
    expected = -(step.std * z).square().flatten(1).mean(1)
    torch.testing.assert_close(step.log_prob, expected, **TOLERANCE)


@pytest.mark.parametrize("kind", list(STOCHASTIC))
def test_log_prob_is_a_mean_so_that_the_resolution_does_not_change_its_size(batch, kind):
    small = sde_step(*batch[:2], 0.9, 0.7, 0.8, kind=kind, z=batch[2])
    x, v, z = (tensor.repeat(1, 2, 2) for tensor in batch)
    torch.testing.assert_close(sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, z=z).log_prob, small.log_prob, **TOLERANCE)


@pytest.mark.parametrize("kind", list(STOCHASTIC))
@pytest.mark.parametrize("s_next", [1e-3, 1e-6])
def test_log_prob_is_finite_close_to_the_end(batch, kind, s_next):
    x, v, z = (tensor.float() for tensor in batch)
    step = sde_step(x, v.requires_grad_(), 0.05, s_next, 0.8, kind=kind, z=z)
    step.log_prob.sum().backward()
    assert step.log_prob.isfinite().all()
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("kind", list(STOCHASTIC))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_replay_gives_the_same_log_prob(batch, kind, dtype):
    x, v, z = (tensor.to(dtype) for tensor in batch)
    drawn = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, z=z)
    replayed = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, x_next=drawn.x_next)
    assert torch.equal(replayed.log_prob, drawn.log_prob)


@pytest.mark.parametrize("kind", DYNAMICS)
def test_levels_per_sample_equal_one_by_one(batch, kind):
    x, v, z = batch
    s, s_next = torch.tensor([1.0, 0.9, 0.3]), torch.tensor([0.95, 0.7, 0.2])
    together = sde_step(x, v, s, s_next, 0.8, kind=kind, z=z)
    for row in range(3):
        alone = sde_step(x[row, None], v[row, None], float(s[row]), float(s_next[row]), 0.8, kind=kind, z=z[row, None])
        torch.testing.assert_close(alone.x_next[0], together.x_next[row], **TOLERANCE)


def test_first_level_is_finite_and_uses_the_second_level(batch):
    x, v, z = batch
    step = sde_step(x, v, 1.0, 0.9, 0.8, z=z)
    assert step.std.item() == pytest.approx(0.8 * math.sqrt(1 / (1 - 0.9)) * math.sqrt(0.1))
    assert step.log_prob.isfinite().all()


def test_bf16_inputs_are_stepped_in_float32(batch):
    x, v, z = (tensor.bfloat16() for tensor in batch)
    step = sde_step(x, v, 0.9, 0.7, 0.8, z=z)
    assert step.x_next.dtype == step.log_prob.dtype == torch.float32


def test_ode_log_prob_is_an_error_not_a_nan(batch):
    x, v, _ = batch
    with pytest.raises(HPEditError, match="no log-probability"):
        _ = sde_step(x, v, 0.9, 0.7, 0.0, kind="ode").log_prob
    with pytest.raises(HPEditError, match="cannot be replayed"):
        sde_step(x, v, 0.9, 0.7, 0.0, kind="ode", x_next=x)


@pytest.mark.parametrize("kind", list(STOCHASTIC))
def test_the_last_step_is_never_stochastic(batch, kind):
    x, v, _ = batch
    with pytest.raises(HPEditError, match="last step"):
        sde_step(x, v, 0.1, 0.0, 0.8, kind=kind)


@pytest.mark.parametrize("kind", list(STOCHASTIC))
def test_the_deviation_has_the_samples_dimensions_whether_levels_are_numbers_or_tensors(batch, kind):
    x, v, z = batch
    one = sde_step(x, v, 0.9, 0.7, 0.8, kind=kind, z=z)
    many = sde_step(x, v, torch.full((3,), 0.9), torch.full((3,), 0.7), 0.8, kind=kind, z=z)
    assert one.std.shape == (1, 1, 1)
    assert many.std.shape == (3, 1, 1)


def test_unknown_dynamics_names_the_known_ones(batch):
    with pytest.raises(HPEditError) as caught:
        sde_step(batch[0], batch[1], 0.9, 0.7, 0.8, kind="sde")
    assert "flow_sde" in caught.value.hint


def test_gradient_flows_through_mu_and_not_through_the_sample(batch):
    x, v, z = batch
    v.requires_grad_()
    step = sde_step(x, v, 0.9, 0.7, 0.8, z=z)
    assert not step.x_next.requires_grad
    step.log_prob.sum().backward()
    assert v.grad.abs().sum() > 0
