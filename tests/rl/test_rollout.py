"""Rollouts on a real pipeline: what is stored repeats itself, and what is drawn is drawn for its place alone."""

import numpy as np
import pytest
import torch

from hpedit.editors.load import wrap_pipeline
from hpedit.editors.sampling import edit_cases
from hpedit.rl import rollout as module
from hpedit.rl.flow_sde import sde_step
from hpedit.rl.policy import RATIO_TOLERANCE
from hpedit.rl.rollout import RolloutSeed, replay, row_chunks, window_start
from hpedit.rl.rollout import collect as collect_with
from hpedit.seeds import derive_seed


def collect(editor, cases, settings, *, seed, iteration, chunk, **options):
    draws = RolloutSeed(seed, iteration, tuple(range(len(cases))))
    return collect_with(editor, cases, settings, draws, chunk=chunk, **options)


def replayed(editor, rollout, settings, rows_of=lambda n: torch.arange(n)):
    """(n, w) log-probs of all stored steps again, edits in order, beside the stored ones."""
    new, old = [], []
    for batch in rollout.batches:
        for slot in range(settings.window):
            for part in row_chunks(rows_of(len(batch.edits)), batch.chunk):
                with torch.no_grad():
                    new.append(replay(editor, batch, settings, part, torch.full_like(part, slot)).log_prob)
                old.append(batch.log_prob[part, slot])
    return torch.cat(new), torch.cat(old)


def test_T4_replay_with_unchanged_weights_repeats_every_bit(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings()
    cases = [make_case("a"), make_case("b", "add a very large green hat", seed=5)]
    rollout = collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=4)
    new, old = replayed(tiny_editor, rollout, settings)
    assert old.shape == (6 * settings.window,)
    assert torch.equal(new, old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_T4_holds_when_some_edits_are_left_out(tiny_editor, make_case, make_rollout_settings, dtype):
    editor = wrap_pipeline(tiny_editor.pipeline.to(dtype), tiny_editor.areas, fingerprint="tiny")
    settings = make_rollout_settings()
    rollout = collect(editor, [make_case("a"), make_case("b", seed=5)], settings, seed=0, iteration=0, chunk=4)
    new, old = replayed(editor, rollout, settings, lambda n: torch.arange(1, n, 2))
    assert (torch.exp(new - old) - 1).abs().max() < RATIO_TOLERANCE[dtype]


def test_the_stored_path_is_the_kernels(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings()
    rollout = collect(tiny_editor, [make_case()], settings, seed=0, iteration=0, chunk=8)
    (batch,) = rollout.batches
    rows = torch.arange(len(batch.edits))
    s, s_next = batch.level_pair(rows, torch.zeros_like(rows))
    conditioning = batch.conditioning.select(batch.group)
    with torch.no_grad():
        v = tiny_editor.velocity(batch.trajectory[:, 0], s, conditioning)
    step = sde_step(batch.trajectory[:, 0], v, s, s_next, 0.8, x_next=batch.trajectory[:, 1])
    torch.testing.assert_close(step.log_prob, batch.log_prob[:, 0], rtol=0, atol=1e-6)
    spread = (batch.trajectory[:, 1] - step.mu) / step.std
    assert spread.std() == pytest.approx(1, abs=0.1)


def test_chunks_change_the_last_bits_only(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings()
    cases = [make_case("a"), make_case("b", seed=5)]
    whole, cut = (collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=c).batches[0] for c in (6, 4))
    torch.testing.assert_close(whole.trajectory[:3], cut.trajectory, rtol=1e-4, atol=1e-4)


def test_sizes_are_batched_apart_and_edits_keep_their_order(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings(group_size=2)
    cases = [make_case("a"), make_case("b", sizes=((90, 30),)), make_case("c", seed=5)]
    rollout = collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=8)
    assert [batch.edits.tolist() for batch in rollout.batches] == [[0, 1, 4, 5], [2, 3]]
    assert [image.size for image in rollout.images] == [(32, 32)] * 2 + [(64, 32)] * 2 + [(32, 32)] * 2


def test_the_same_seed_gives_the_same_edits_and_members_differ(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings()
    first, second, other = (
        collect(tiny_editor, [make_case()], settings, seed=0, iteration=i, chunk=8) for i in (0, 0, 1)
    )
    arrays = [[np.asarray(image) for image in rollout.images] for rollout in (first, second, other)]
    assert all((a == b).all() for a, b in zip(arrays[0], arrays[1], strict=True))
    assert all((a != b).any() for a, b in zip(arrays[0], arrays[2], strict=True))
    assert (arrays[0][0] != arrays[0][1]).any()


def test_the_window_is_shared_by_a_group_and_moves(make_rollout_settings):
    settings = make_rollout_settings(steps=8, window_start=(1, 4))
    starts = {window_start(settings, 0, iteration, group) for iteration in range(20) for group in range(4)}
    assert starts == {1, 2, 3, 4}
    assert window_start(settings, 0, 3, 2) == window_start(settings, 0, 3, 2)


def test_the_batch_holds_one_window_a_group(tiny_editor, make_case, make_rollout_settings):
    settings = make_rollout_settings()
    cases = [make_case(f"{i}", seed=5 * i) for i in range(3)]
    (batch,) = collect(tiny_editor, cases, settings, seed=0, iteration=2, chunk=9).batches
    expected = [window_start(settings, 0, 2, group) for group in range(3) for _ in range(3)]
    assert batch.start.tolist() == expected
    assert (batch.start + settings.window).max() < settings.steps, "the last step is never stochastic"


def _for_each_row(wave, x, kept):
    """The steps before the window, computed for every row of a group."""
    rows = torch.arange(len(x))
    for step in range(int(wave.start.max())):
        before = rows[wave.start > step]
        wave._sampling_step(x, before, torch.full_like(before, step), kept)
    return x


def test_a_shared_prefix_equals_computing_it_for_each(tiny_editor, make_case, make_rollout_settings, monkeypatch):
    settings = make_rollout_settings(shared_noise=True, window=1, window_start=(2, 2))
    cases = [make_case("a"), make_case("b", seed=5)]
    forwards = []
    velocity = module.velocity_of
    monkeypatch.setattr(module, "velocity_of", lambda *args: (forwards.append(args[5]), velocity(*args))[1])
    rollout = collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=6)
    shared = rollout.batches[0]
    assert forwards == [2, 2, 6, 6]
    assert rollout.forwards == sum(forwards)
    monkeypatch.setattr(module._Wave, "_before_window", _for_each_row)
    each = collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=6).batches[0]
    torch.testing.assert_close(shared.trajectory, each.trajectory, rtol=0, atol=1e-5)
    assert (shared.trajectory[0, 0] == shared.trajectory[1, 0]).all()
    assert (shared.trajectory[0, 1] != shared.trajectory[1, 1]).any()


def test_an_ode_rollout_is_what_the_editor_itself_makes(tiny_editor, make_case, make_rollout_settings):
    settings, cases = make_rollout_settings(), [make_case("a"), make_case("b", seed=5)]
    rollout = collect(tiny_editor, cases, settings, seed=0, iteration=0, chunk=6, stochastic=False)
    (batch,) = rollout.batches
    seeds = [derive_seed(0, "noise", 0, group, member) for group, member in batch.keys]
    alone = edit_cases(tiny_editor, [case for case in cases for _ in range(3)], seeds, settings.steps, batch_size=6)
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(rollout.images, alone, strict=True))
    assert batch.log_prob.shape == (6, 0)


def test_waves_hold_whole_groups_and_tell_of_their_pictures(tiny_editor, make_case, make_rollout_settings):
    told = []
    cases = [make_case(f"{i}", seed=5 * i) for i in range(3)]
    rollout = collect(
        tiny_editor, cases, make_rollout_settings(), seed=0, iteration=0, chunk=7,
        on_decoded=lambda edits, images: told.append((edits, images)),
    )  # fmt: skip
    assert [batch.edits.tolist() for batch in rollout.batches] == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    assert [edits for edits, _ in told] == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    assert told[1][1][0] is rollout.images[6]


def test_a_groups_edits_depend_on_its_number_and_not_on_its_neighbours(tiny_editor, make_case, make_rollout_settings):
    cases = [make_case(f"{i}", seed=5 * i) for i in range(2)]
    both = collect(tiny_editor, cases, make_rollout_settings(), seed=0, iteration=0, chunk=3)
    second = collect_with(tiny_editor, cases[1:], make_rollout_settings(), RolloutSeed(0, 0, (1,)), chunk=3)
    assert torch.equal(second.batches[0].trajectory, both.batches[1].trajectory)


def test_the_means_are_kept_where_they_are_asked_for(tiny_editor, make_case, make_rollout_settings):
    cases = [make_case()]
    (batch,) = collect(
        tiny_editor, cases, make_rollout_settings(), seed=0, iteration=0, chunk=3, keep_means=True
    ).batches
    rows = torch.arange(3)
    for slot in range(2):
        with torch.no_grad():
            step = replay(tiny_editor, batch, make_rollout_settings(), rows, torch.full_like(rows, slot))
        assert torch.equal(step.mu, batch.mu[:, slot])
