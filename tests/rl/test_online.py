"""One iteration of online RL: what it computes, and when."""

import threading
import time

import pytest
import torch

from hpedit.config.recipe import LoraSection
from hpedit.editors.load import wrap_pipeline
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.online import Online
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import RATIO_TOLERANCE, LoraPolicy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.sampler import CaseSampler

GROUPS, SIZE, STEPS = 3, 4, 3
EDITS = GROUPS * SIZE


@pytest.fixture
def make_online(tiny_editor, training_cases, redness_scorer, make_recipe):
    def make(scorer=None, editor=tiny_editor, recomputes=False, rollout=None, **train):
        rollout = {"group_size": SIZE, "groups": GROUPS, "steps": STEPS} | (rollout or {})
        recipe = make_recipe(train={"micro_batch": SIZE} | train, rollout=rollout)
        editor.add_lora(LoraSection(rank=2, alpha=4.0), 0)
        editor.set_checkpointing(recomputes)
        context = UpdateContext(recipe, editor, LoraPolicy(editor, recipe.train), recomputes)
        rewards = Rewards({MAIN: scorer or redness_scorer()}, {MAIN: 1.0})
        return Online(context, training_cases, rewards, CaseSampler(len(training_cases), 0), SingleProcess())

    return make


@pytest.fixture
def rows_of(tiny_editor):
    """Count rows of forwards, without and with a graph, at the transformer itself."""
    rows = {"plain": 0, "trained": 0}

    def note(_module, _args, kwargs):
        rows["trained" if torch.is_grad_enabled() else "plain"] += len(kwargs["hidden_states"])

    hook = tiny_editor.pipeline.transformer.register_forward_pre_hook(note, with_kwargs=True)
    yield rows
    hook.remove()


TRAINED = {
    # Without a KL no reference is run, and old log-probs are the rollout's: each trained row is one forward with graph.
    ("flow_grpo", 0.0): (0, EDITS),
    ("flow_grpo", 0.1): (EDITS, EDITS),
    ("grpo_guard", 0.0): (0, EDITS),
    # Two levels of each edit: the old policy without a graph, the policy with one.
    ("nft", 0.0): (2 * EDITS, 2 * EDITS),
    ("nft", 0.1): (4 * EDITS, 2 * EDITS),
    # Two pairs a group at two levels, both edits of a pair.
    ("online_dpo", 0.0): (2 * 2 * 2 * GROUPS, 2 * 2 * 2 * GROUPS),
}


@pytest.mark.parametrize(("algorithm", "kl"), TRAINED)
def test_every_forward_is_counted_and_none_is_made_in_vain(make_online, rows_of, algorithm, kl):
    record = make_online(algorithm=algorithm, kl=kl).iterate(0)
    plain, trained = TRAINED[algorithm, kl]
    assert rows_of == {"plain": EDITS * STEPS + plain, "trained": trained}
    assert record["forwards"] == EDITS * STEPS + plain + 3 * trained


def test_checkpointing_gives_the_same_gradients_for_one_more_forward(make_online):
    found = {}
    for recomputes in (False, True):
        online = make_online(recomputes=recomputes)
        forwards = online.iterate(0)["forwards"]
        found[recomputes] = forwards, {n: p.grad.clone() for n, p in online.context.policy.parameters.items()}
    assert found[False][0] == EDITS * (STEPS + 3)
    assert found[True][0] == EDITS * (STEPS + 4)
    for name, gradient in found[False][1].items():
        torch.testing.assert_close(found[True][1][name], gradient, rtol=1e-5, atol=1e-9)


def test_a_bf16_base_has_a_float32_lora_a_float32_path_and_ratios_of_1(tiny_editor, make_online):
    editor = wrap_pipeline(tiny_editor.pipeline.to(torch.bfloat16), tiny_editor.areas, fingerprint="tiny")
    online = make_online(editor=editor, rollout={"window": 2, "window_start": (0, 0)}, micro_batch=5)
    for iteration in range(2):  # the second with a LoRA that does something
        record = online.iterate(iteration)
        assert record["ratio_deviation"] < RATIO_TOLERANCE[torch.bfloat16] == 2e-5
    assert editor.dtype == torch.bfloat16
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in online.context.policy.parameters.values())
    for batch in online.last.batches:
        assert batch.trajectory.dtype == batch.log_prob.dtype == batch.x0.dtype == torch.float32
        assert not torch.equal(batch.trajectory, batch.trajectory.bfloat16().float()), "not rounded on the way"


class SlowJudge:
    """Scores by redness, but takes its time; notes when."""

    def __init__(self, scorer, seconds, hold=None):
        self.scorer, self.seconds, self.hold, self.spans = scorer, seconds, hold, []
        self.fingerprint = scorer.fingerprint

    def score(self, *args):
        began = time.perf_counter()
        time.sleep(self.seconds)
        if self.hold and len(self.spans) == GROUPS - 1:
            assert self.hold.wait(60), "the last answer is kept back until training has begun"
        scores = self.scorer.score(*args)
        self.spans.append((began, time.perf_counter()))
        return scores


def timed(function, times, begun=None):
    def noted(*args, **kwargs):
        times.append(time.perf_counter())
        if begun:
            begun.set()
        return function(*args, **kwargs)

    return noted


@pytest.fixture
def slow_iteration(make_online, redness_scorer, tiny_editor):
    """(judge's spans, times of decoding, times at which training began on a wave) of three waves of one group."""

    def run(seconds=0.5, begun=None, **changes):
        judge = SlowJudge(redness_scorer(), seconds, begun)
        online = make_online(judge, **changes)
        decoded, trained = [], []
        tiny_editor.decode = timed(tiny_editor.decode, decoded)
        online.algorithm.accumulate = timed(online.algorithm.accumulate, trained, begun)
        record = online.iterate(0)
        return judge.spans, decoded, trained, record

    return run


def test_complete_groups_are_trained_on_while_later_ones_are_judged(slow_iteration):
    spans, _, trained, record = slow_iteration(seconds=0.0, begun=threading.Event(), advantage_std="group")
    assert len(spans) == len(trained) == GROUPS
    assert spans[0][1] <= trained[0] < spans[-1][1]
    assert record["optimizer_steps"] == 1


def test_with_the_batchs_deviation_all_are_judged_first_and_waves_are_trained_on_together(slow_iteration):
    spans, _, trained, _ = slow_iteration(seconds=0.05)
    assert len(trained) == 1
    assert trained[0] >= spans[-1][1]


def test_pictures_go_to_the_judge_as_they_are_decoded(slow_iteration):
    spans, decoded, _, record = slow_iteration()
    assert len(decoded) == GROUPS
    assert spans[0][0] < decoded[1], "while the second wave was not yet there"
    assert record["seconds_judge"] >= GROUPS * 0.5
    assert record["seconds_score"] < record["seconds_judge"], "some of it was not waited for"


def test_without_overlap_they_take_turns_and_the_result_is_the_same(slow_iteration, tiny_editor):
    _, _, _, together = slow_iteration(seconds=0.0)
    after = {name: p.detach().clone() for name, p in tiny_editor.lora_parameters().items()}
    spans, decoded, _, apart = slow_iteration(seconds=0.05, rollout={"overlap": False})
    assert all(end < decoded[-GROUPS:][wave + 1] for wave, (_, end) in enumerate(spans[:-1]))
    assert apart["loss"] == together["loss"]
    assert all(torch.equal(p, after[name]) for name, p in tiny_editor.lora_parameters().items())


def test_steps_of_several_waves_fill_each_others_forwards(make_online, rows_of, redness_scorer):
    """Of three waves one is silent in part; the steps that are left need two forwards of four, not three."""

    def one_group_is_silent(_number, value):
        return 3.0 if seen.pop(0) == 1 else value

    seen = [wave for wave in range(GROUPS) for _ in range(SIZE)]
    online = make_online(redness_scorer(one_group_is_silent), rollout={"window": 1})
    record = online.iterate(0)
    assert record["groups_skipped"] == 1
    assert rows_of["trained"] == 2 * SIZE
    assert record["ratio_deviation"] == 0.0
