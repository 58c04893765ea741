"""LoraPolicy-gradient updates on a real pipeline."""

from types import SimpleNamespace

import pytest
import torch

from hpedit.errors import HPEditError
from hpedit.rl.advantage import group_advantages
from hpedit.rl.algorithms import ALGORITHMS
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.metrics import MetricSums
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import LoraPolicy, finish_step
from hpedit.rl.rollout import RolloutSeed, collect

REWARDS = [0.1, 0.5, 0.9, 0.2, 0.3, 0.8]
LORA = SimpleNamespace(rank=2, alpha=4.0, targets=("to_q", "to_out.0", "add_k_proj"))


@pytest.fixture
def editor(tiny_editor):
    """With a LoRA that does something, so that A has a gradient too."""
    tiny_editor.add_lora(LORA, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in tiny_editor.lora_parameters().values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return tiny_editor


@pytest.fixture(params=["flow_grpo", "grpo_guard"])
def algorithm(request):
    return request.param


@pytest.fixture
def update(editor, make_case, make_recipe, algorithm):
    """Rollout and update; gives metrics and the gradients. At rate 0 the optimizer moves nothing."""
    cases = [make_case("a"), make_case("b", "add a green hat", seed=5)]

    def run(rewards=REWARDS, chunk=6, rate=0.0, between=lambda: None, inner_updates=1, **changes):
        recipe = make_recipe(
            rollout={"steps": 4, "window": 2, "window_start": (0, 1), "group_size": 3},
            train={"algorithm": algorithm, "micro_batch": chunk, **changes},
        )
        policy = LoraPolicy(editor, recipe.train)
        policy.optimizer = torch.optim.SGD(policy.parameters.values(), lr=rate)
        one = ALGORITHMS[algorithm](UpdateContext(recipe, editor, policy, recomputes=False))
        made = collect(editor, cases, recipe.rollout, RolloutSeed(0, 0, (0, 1)), chunk=chunk, keep_means=one.keep_means)
        between()
        found = group_advantages(rewards, [0, 0, 0, 1, 1, 1])
        metrics = []
        for inner in range(inner_updates):
            policy.zero_grad()
            totals = MetricSums()
            for batch in made.batches:
                edits = batch.edits.numpy()
                advantage, active = torch.as_tensor(found.values[edits]), torch.as_tensor(found.active[edits])
                totals.merge(one.accumulate(batch, advantage, active, 0))
            first = editor.dtype if inner == 0 else None
            metrics.append(finish_step(policy, totals, SingleProcess(), first_ratio_in=first) | {"terms": totals.terms})
        return metrics[-1], {n: None if p.grad is None else p.grad.clone() for n, p in policy.parameters.items()}

    return run


def test_before_the_first_update_every_ratio_is_1(update):
    metrics, gradients = update()
    assert metrics["ratio_deviation"] == 0.0
    assert metrics["ratio_mean"] == 1.0
    assert metrics["terms"] == 12
    assert metrics["grad_norm"] > 0
    # The last block's text stream goes nowhere, so its LoRA has no gradient.
    assert sum(g is not None and bool((g != 0).any()) for g in gradients.values()) > len(gradients) // 2


def test_a_replay_that_is_not_the_rollout_stops_the_run(editor, update):
    def disturb():
        editor.pipeline.transformer.proj_out.bias.data += 1e-3

    with pytest.raises(HPEditError, match="importance ratio differs from 1") as caught:
        update(between=disturb)
    assert "dropout" in caught.value.hint


def test_the_gradient_does_not_depend_on_the_chunks(update):
    whole = update(chunk=6)
    for chunk in (1, 4):
        cut = update(chunk=chunk)
        assert cut[0]["loss"] == pytest.approx(whole[0]["loss"], abs=1e-6)
        assert cut[0]["grad_norm"] == pytest.approx(whole[0]["grad_norm"], rel=1e-4)
        for name, gradient in whole[1].items():
            if gradient is not None:
                torch.testing.assert_close(cut[1][name], gradient, rtol=1e-3, atol=1e-6)


def test_a_step_without_any_signal_touches_nothing(editor, update):
    before = {name: p.detach().clone() for name, p in editor.lora_parameters().items()}
    metrics, gradients = update(rewards=[0.5] * 6, rate=1.0)
    assert metrics["terms"] == 0
    assert metrics["loss"] is None
    assert all(gradient is None for gradient in gradients.values())
    assert all(torch.equal(p, before[name]) for name, p in editor.lora_parameters().items())


def test_a_skipped_group_adds_nothing(update):
    _, both = update(rewards=[*REWARDS[:3], 0.5, 0.5, 0.5])
    _, with_none = update(rewards=[*REWARDS[:3], None, None, None])
    for name, gradient in both.items():
        if gradient is not None:
            # The mean is over scored edits, of which the first has twice as many; the batch's deviation differs too.
            cosine = torch.nn.functional.cosine_similarity(gradient.flatten(), with_none[name].flatten(), dim=0)
            assert cosine == pytest.approx(1, abs=1e-4)


def test_weight_0_runs_no_reference_and_weight_1_has_a_gradient(editor, update, monkeypatch):
    plain = update()
    with_kl = update(kl=1.0)
    assert "kl" not in plain[0]
    assert with_kl[0]["kl"] > 0
    assert with_kl[0]["grad_norm"] != plain[0]["grad_norm"]
    monkeypatch.setattr(editor, "lora_disabled", None)
    assert "kl" not in update()[0]


def test_at_the_base_the_kl_is_zero(editor, update):
    for name, parameter in editor.lora_parameters().items():
        if "lora_B" in name:
            parameter.data.zero_()
    plain, with_kl = update(), update(kl=1.0)
    assert with_kl[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert with_kl[0]["grad_norm"] == pytest.approx(plain[0]["grad_norm"], rel=1e-5)


def test_the_base_is_frozen(editor, update):
    def base():
        return {name: p for name, p in editor.pipeline.transformer.named_parameters() if ".lora_" not in name}

    before = {name: p.detach().clone() for name, p in base().items()}
    update(rate=1.0, kl=1.0)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in base().items())


def test_inner_updates_move_the_ratio_and_clip(update):
    metrics, _ = update(rate=100.0, inner_updates=3)
    assert metrics["ratio_deviation"] > 0
    assert metrics["clip_fraction"] > 0


def test_a_gradient_that_is_not_finite_stops_the_run_and_leaves_the_weights(editor, update):
    before = {name: p.detach().clone() for name, p in editor.lora_parameters().items()}
    next(iter(editor.lora_parameters().values())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(HPEditError, match="not finite"):
        update(rate=1.0)
    assert all(torch.equal(p, before[name]) for name, p in editor.lora_parameters().items())
