"""What becomes of the others when one of several processes fails. Real processes, real signals."""

import signal

import pytest

LIMIT = 60.0
"""Seconds within which all must be gone."""


@pytest.fixture
def recipe(make_recipe, tmp_path):
    return make_recipe(tmp_path / "run", train={"iterations": 3}, rollout={"groups": 4}, scale={"stall_timeout": 5.0})


def errors(tmp_path, rank):
    return (tmp_path / "run" / "errors" / f"rank_{rank}.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_X1_a_rank_that_raises_takes_all_down_with_its_traceback(start_several, recipe, tmp_path, rank):
    ran = start_several(recipe, faults={("score", rank, 3): "raise"})
    codes = ran.codes(LIMIT)
    assert None not in codes
    assert 0 not in codes
    assert ran.seconds_since_fault() < LIMIT
    assert "ZeroDivisionError: planted by the test" in ran.stderr(0)
    assert "in misbehave" in errors(tmp_path, rank)
    assert f"rank {rank} failed: planted by the test" in ran.stderr(1 - rank)


@pytest.mark.slow
def test_X2_a_stalled_rank_is_named_with_its_stack(start_several, recipe, tmp_path):
    ran = start_several(recipe, faults={("score", 1, 3): "deadlock"})
    codes = ran.codes(LIMIT)
    assert codes == [1, 1]
    assert "rank 1 has stood still" in ran.stderr(0)
    assert "in misbehave" in errors(tmp_path, 1), "the stack shows where"
    assert "Thread" in ran.stderr(1)


@pytest.mark.slow
def test_X2_a_frozen_rank_is_named_by_its_silence(start_several, recipe, tmp_path):
    ran = start_several(recipe, faults={("score", 1, 3): "freeze"}, silence=4.0)
    ran.processes[0].join(LIMIT)
    assert ran.processes[0].exitcode == 1
    assert "no sign of life" in errors(tmp_path, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_X5_a_rank_that_is_killed_is_reported_as_dead(start_several, recipe, tmp_path, rank):
    ran = start_several(recipe, faults={("score", rank, 3): "kill"})
    codes = ran.codes(LIMIT)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    assert ran.seconds_since_fault() < LIMIT
    if rank == 1:  # with rank 0 its store goes too, where no launcher keeps that
        assert "died without a word" in errors(tmp_path, 1)
