"""Identity 7, the formula as it is published, and gradients by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.rl.losses.dpo import dpo_loss

NAMES = ("v_winner", "v_loser", "v_winner_ref", "v_loser_ref", "target_winner", "target_loser")
PARTS = [("v", side, ref) for side in ("winner", "loser") for ref in ("", "_ref")]
PARTS += [("target", side, "") for side in ("winner", "loser")]
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}
BETAS = st.floats(0.1, 5000.0)


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, 4, 5, dtype=torch.float64, generator=generator) for name in NAMES}


def at_reference(pair):
    return pair | {"v_winner": pair["v_winner_ref"], "v_loser": pair["v_loser_ref"]}


def error(v, target):
    return (v - target).square().flatten(1).mean(1)


def change(pair, side):
    target = pair[f"target_{side}"]
    return error(pair[f"v_{side}"], target) - error(pair[f"v_{side}_ref"], target)


@settings(max_examples=60, deadline=None)
@given(BETAS)
def test_at_the_reference_the_loss_is_log_2(pair, beta):
    result = dpo_loss(**at_reference(pair), beta=beta)
    torch.testing.assert_close(result.loss, torch.full((3,), math.log(2), dtype=torch.float64), **TOLERANCE)
    assert (result.margin == 0).all()


@settings(max_examples=60, deadline=None)
@given(BETAS)
def test_it_is_the_published_formula(pair, beta):
    result = dpo_loss(**pair, beta=beta)
    margin = -beta / 2 * (change(pair, "winner") - change(pair, "loser"))
    torch.testing.assert_close(result.margin, margin, **TOLERANCE)
    torch.testing.assert_close(result.loss, -torch.nn.functional.logsigmoid(margin), **TOLERANCE)
    torch.testing.assert_close(result.winner_change, change(pair, "winner"), **TOLERANCE)
    torch.testing.assert_close(result.loser_change, change(pair, "loser"), **TOLERANCE)


@pytest.mark.parametrize("beta", [0.5, 10.0])
def test_gradient_by_hand(pair, beta):
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in pair.items()}
    result = dpo_loss(**inputs, beta=beta)
    result.loss.sum().backward()
    weight = (torch.sigmoid(-result.margin) * beta / pair["v_winner"][0].numel())[:, None, None]
    winner, loser = (pair[f"v_{side}"] - pair[f"target_{side}"] for side in ("winner", "loser"))
    torch.testing.assert_close(inputs["v_winner"].grad, weight * winner, **TOLERANCE)
    torch.testing.assert_close(inputs["v_loser"].grad, -weight * loser, **TOLERANCE)
    assert all(inputs[name].grad is None for name in NAMES[2:])


def test_the_first_gradient_is_beta_over_four_times_that_of_the_difference_of_errors(pair):
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in at_reference(pair).items()}
    dpo_loss(**inputs, beta=2000.0).loss.sum().backward()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in at_reference(pair).items()}
    winner, loser = (error(leaves[f"v_{side}"], leaves[f"target_{side}"]) for side in ("winner", "loser"))
    (500.0 * (winner - loser)).sum().backward()
    for name in ("v_winner", "v_loser"):
        torch.testing.assert_close(inputs[name].grad, leaves[name].grad, **TOLERANCE)


def test_winner_and_loser_swapped_turn_the_margin_round(pair):
    swapped = {
        name: pair[name.replace("winner", "x").replace("loser", "winner").replace("x", "loser")] for name in NAMES
    }
    assert torch.equal(dpo_loss(**swapped, beta=7.0).margin, -dpo_loss(**pair, beta=7.0).margin)


def test_a_margin_grows_with_a_better_winner_and_with_a_worse_loser(pair):
    start = at_reference(pair)
    better = start | {"v_winner": torch.lerp(start["v_winner"], pair["target_winner"], 0.1)}
    worse = start | {"v_loser": torch.lerp(start["v_loser"], pair["target_loser"], -0.1)}
    results = [dpo_loss(**inputs, beta=2000.0) for inputs in (better, worse)]
    assert all((result.margin > 0).all() and (result.loss < math.log(2)).all() for result in results)
    assert (results[0].winner_change < 0).all()
    assert (results[1].loser_change > 0).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_huge_margin_stays_finite(pair, sign):
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in pair.items()}
    result = dpo_loss(**inputs, beta=sign * 1e30)
    result.loss.sum().backward()
    assert result.loss.isfinite().all()
    assert inputs["v_winner"].grad.isfinite().all()


def test_bf16_velocities_are_worked_on_in_float32_and_give_exactly_log_2_at_the_reference(pair):
    half = {name: tensor.bfloat16() for name, tensor in at_reference(pair).items()}
    result = dpo_loss(**half, beta=2000.0)
    assert result.loss.dtype == torch.float32
    assert (result.loss == torch.tensor(2.0).log()).all()
