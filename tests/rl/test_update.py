"""The policy update on a real pipeline."""

from types import SimpleNamespace

import pytest
import torch

from hpedit.errors import HPEditError
from hpedit.rl.advantage import group_advantages
from hpedit.rl.rollout import collect
from hpedit.rl.update import _check_finite, policy_update

REWARDS = [0.1, 0.5, 0.9, 0.2, 0.3, 0.8]
LORA = SimpleNamespace(rank=2, alpha=4.0, targets=("to_q", "to_out.0", "add_k_proj"))


def train_settings(**changes):
    return SimpleNamespace(**{"clip": 1e-4, "kl": 0.0, "max_grad_norm": 1.0, "inner_updates": 1} | changes)


@pytest.fixture
def editor(tiny_editor):
    """With a LoRA that does something, so that A has a gradient too."""
    tiny_editor.add_lora(LORA, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in tiny_editor.lora_parameters().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return tiny_editor


@pytest.fixture
def update(editor, make_case, make_rollout_settings):
    """Rollout and one update; gives metrics and the gradients."""
    cases, settings = [make_case("a"), make_case("b", "add a green hat", seed=5)], make_rollout_settings()

    def run(rewards=REWARDS, chunk=6, rate=0.0, between=lambda: None, **changes):
        parameters = editor.lora_parameters()
        optimizer = torch.optim.SGD(parameters.values(), lr=rate)
        rollout = collect(editor, cases, settings, seed=0, iteration=0, chunk=chunk)
        between()
        advantages = group_advantages(rewards, [0, 0, 0, 1, 1, 1])
        metrics = policy_update(editor, optimizer, rollout, advantages, settings, train_settings(**changes))
        return metrics, {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()}

    return run


def test_T4_before_the_first_update_every_ratio_is_1(update):
    metrics, gradients = update()
    assert metrics["ratio_deviation"] == 0.0
    assert metrics["ratio_mean"] == 1.0
    assert metrics["optimizer_steps"] == 1.0
    assert metrics["grad_norm"] > 0
    # The last block's text stream goes nowhere, so its LoRA has no gradient.
    assert sum(g is not None and bool((g != 0).any()) for g in gradients.values()) > len(gradients) // 2


def test_T4_a_replay_that_is_not_the_rollout_stops_the_run(editor, update):
    def disturb():
        editor.pipeline.transformer.proj_out.bias.data += 1e-3

    with pytest.raises(HPEditError, match="ratio is off 1") as caught:
        update(between=disturb)
    assert "dropout" in caught.value.hint


def test_T6_the_gradient_does_not_depend_on_the_chunks(update):
    whole = update(chunk=6)
    for chunk in (1, 4):
        cut = update(chunk=chunk)
        assert cut[0]["loss"] == pytest.approx(whole[0]["loss"], abs=1e-6)
        assert cut[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=1e-4)
        for name, gradient in whole[1].items():
            if gradient is not None:
                torch.testing.assert_close(cut[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_T1_a_step_without_any_signal_touches_nothing(editor, update):
    before = {name: p.detach().clone() for name, p in editor.lora_parameters().items()}
    metrics, gradients = update(rewards=[0.5] * 6, rate=1.0)
    assert metrics["optimizer_steps"] == 0.0
    assert metrics["loss"] is None
    assert all(gradient is None for gradient in gradients.values())
    assert all(torch.equal(p, before[name]) for name, p in editor.lora_parameters().items())


def test_T1_a_skipped_group_adds_nothing(update):
    _, both = update(rewards=[*REWARDS[:3], 0.5, 0.5, 0.5])
    _, with_none = update(rewards=[*REWARDS[:3], None, None, None])
    for name, gradient in both.items():
        if gradient is not None:
            # The mean is over scored edits, of which the first has twice as many; the batch's deviation differs too.
            cosine = torch.nn.functional.cosine_similarity(gradient.flatten(), with_none[name].flatten(), dim=0)
            assert cosine == pytest.approx(1, abs=1e-4)


def test_identity_8_weight_0_runs_no_reference_and_weight_1_has_a_gradient(editor, update, monkeypatch):
    plain = update()
    with_kl = update(kl=1.0)
    assert plain[0]["kl"] is None
    assert with_kl[0]["kl"] > 0
    assert with_kl[0]["grad_norm"] != plain[0]["grad_norm"]
    monkeypatch.setattr(editor, "lora_disabled", None)
    assert update()[0]["kl"] is None


def test_identity_8_at_the_base_the_kl_is_zero(editor, update):
    for name, parameter in editor.lora_parameters().items():
        if "lora_B" in name:
            parameter.data.zero_()
    plain, with_kl = update(), update(kl=1.0)
    assert with_kl[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert with_kl[0]["grad_norm"] == pytest.approx(plain[0]["grad_norm"], rel=1e-5)


def test_T11_the_base_is_frozen(editor, update):
    def base():
        return {name: p for name, p in editor.pipeline.transformer.named_parameters() if ".lora_" not in name}

    before = {name: p.detach().clone() for name, p in base().items()}
    update(rate=1.0, kl=1.0)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in base().items())


def test_inner_updates_move_the_ratio_and_clip(update):
    metrics, _ = update(rate=100.0, inner_updates=3)
    assert metrics["optimizer_steps"] == 3.0
    assert metrics["ratio_deviation"] == 0.0
    assert metrics["ratio_mean"] != 1.0
    assert metrics["clip_fraction"] > 0


def test_T9_a_loss_or_gradient_that_is_not_finite_stops_the_run(editor, update):
    with pytest.raises(HPEditError, match="not finite"):
        _check_finite(float("nan"), 1.0)
    next(iter(editor.lora_parameters().values())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(HPEditError, match="not finite"):
        update()
