"""Guidance: the formulas, and that a scale of 1 and empty tokens do no harm."""

import pytest
import torch

from hpedit.editors.guidance import apply_guidance


@pytest.fixture
def velocities():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, 8, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_plain_guidance_goes_from_the_negative_through_the_positive(velocities):
    positive, negative = velocities
    torch.testing.assert_close(
        apply_guidance(positive, negative, 3.0, "plain"), 3 * positive - 2 * negative, rtol=0, atol=1e-12
    )


def test_rescaled_guidance_keeps_each_tokens_length_and_the_plain_direction(velocities):
    positive, negative = velocities
    guided, plain = (apply_guidance(positive, negative, 4.0, rule) for rule in ("rescaled", "plain"))
    torch.testing.assert_close(guided.norm(dim=-1), positive.norm(dim=-1), rtol=0, atol=1e-12)
    cosine = torch.nn.functional.cosine_similarity(guided, plain, dim=-1)
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["plain", "rescaled"])
def test_a_scale_of_one_is_the_positive(velocities, rule):
    torch.testing.assert_close(apply_guidance(*velocities, 1.0, rule), velocities[0], rtol=0, atol=1e-12)


def test_a_token_of_zeros_stays_zero_and_has_a_gradient_without_nan():
    positive = torch.zeros(1, 2, 4, requires_grad=True)
    guided = apply_guidance(positive, torch.zeros(1, 2, 4), 4.0, "rescaled")
    guided.sum().backward()
    assert (guided == 0).all()
    assert positive.grad.isfinite().all()
