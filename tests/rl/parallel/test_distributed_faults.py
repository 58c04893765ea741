"""What becomes of the others when one of several processes fails. Real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.rl import several

from hpedit.config.recipe import ScaleSection
from hpedit.errors import HPEditError
from hpedit.rl.parallel.distributed import ProcessRank
from hpedit.rl.parallel.processes import SingleProcess, check_shares
from hpedit.store.checkpoint import load_latest
from hpedit.store.run_folder import RunFolder

LIMIT = 60.0
"""Seconds after the fault within which all must be gone."""
PATIENCE = 300.0
"""Seconds for all of a run: a busy machine takes long to start processes."""


@pytest.fixture
def recipe(make_recipe, tmp_path):
    return make_recipe(tmp_path / "run", train={"iterations": 3}, rollout={"groups": 4})


def errors(tmp_path, rank):
    return (tmp_path / "run" / "errors" / f"rank_{rank}.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_raises_takes_all_down_with_its_traceback(start_several, recipe, tmp_path, rank):
    ran = start_several(recipe, faults={("score", rank, 3): "raise"})
    codes = ran.codes(PATIENCE)
    assert None not in codes
    assert 0 not in codes
    assert ran.seconds_since_fault() < LIMIT
    assert "ZeroDivisionError: planted by the test" in ran.stderr(0)
    assert "in misbehave" in errors(tmp_path, rank)
    assert f"rank {rank} failed: planted by the test" in ran.stderr(1 - rank)


@pytest.mark.slow
def test_a_stalled_rank_is_named_with_its_stack(start_several, recipe, tmp_path):
    recipe = recipe.model_copy(update={"scale": ScaleSection(stall_timeout=8.0)})
    ran = start_several(recipe, faults={("score", 1, 3): "deadlock"})
    codes = ran.codes(PATIENCE)
    assert codes == [1, 1]
    assert "rank 1 has stalled" in ran.stderr(0)
    assert "in misbehave" in errors(tmp_path, 1), "the stack shows where"
    assert "Thread" in ran.stderr(1)


@pytest.mark.slow
def test_a_frozen_rank_is_named_by_its_silence(start_several, recipe, tmp_path):
    ran = start_several(recipe, faults={("score", 1, 3): "freeze"}, silence=8.0)
    ran.processes[0].join(PATIENCE)
    assert ran.processes[0].exitcode == 1
    assert "no heartbeat" in errors(tmp_path, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_is_reported_as_dead(start_several, recipe, tmp_path, rank):
    ran = start_several(recipe, faults={("score", rank, 3): "kill"})
    codes = ran.codes(PATIENCE)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    assert ran.seconds_since_fault() < LIMIT
    if rank == 1:  # with rank 0 its store goes too, where no launcher keeps that
        assert "probably killed" in errors(tmp_path, 1)


@pytest.mark.slow
def test_an_error_of_rank_0_alone_does_not_hang_the_others(start_several, recipe, tmp_path):
    with RunFolder.open(tmp_path / "run", "train", {}, {}):
        ran = start_several(recipe)
        codes = ran.codes(PATIENCE)
    assert codes == [2, 1]
    assert "is in use by another process" in ran.stderr(0)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_and_one_process_goes_on(start_several, recipe, tmp_path, caplog):
    ran = start_several(recipe, faults={("score", 1, 3): "wait"})
    [pid] = ran.wait_here()
    os.kill(pid, signal.SIGTERM)
    assert ran.codes(PATIENCE) == [143, 143]
    assert "Traceback" not in ran.stderr(0) + ran.stderr(1)
    done = load_latest(tmp_path / "run" / "checkpoints").step
    assert done in (1, 2)
    result = several.train_here(recipe.resolved(), {}, tmp_path)
    said = "continued with processes was 2, is 1: the same run up to rounding"
    assert said in caplog.text
    assert said in (tmp_path / "run" / "log.txt").read_text()
    assert [record["step"] for record in result.metrics] == [1, 2, 3]


class Eight(SingleProcess):
    size = 8


def test_shares_that_are_uneven_are_said_and_empty_ones_refused():
    assert check_shares(Eight(), 16) == ""
    assert "8 or 16 would be even" in check_shares(Eight(), 12)
    with pytest.raises(HPEditError, match=r"8 processes, but rollout\.groups is 6") as caught:
        check_shares(Eight(), 6)
    assert "rollout.groups to 8" in caught.value.hint
    assert "at most 6 processes" in caught.value.hint


def test_a_launcher_that_tells_only_half_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(HPEditError, match="WORLD_SIZE is 2, but 'RANK' is not set"):
        ProcessRank.of_environment()


# The launchers themselves


def command(folder, *launcher, iterations):
    recipe = several.recipe_file(folder, iterations)
    return [sys.executable, "-m", *launcher, "-m", "hpedit", "train", str(recipe)]


@pytest.mark.slow
def test_accelerate_launch_trains(tmp_path):
    # On a machine with GPUs --multi_gpu is what accelerate takes by itself.
    launcher = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
    asked = command(tmp_path, *launcher, iterations=2)
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run'}\n", "rank 0 alone speaks"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def children(pid):
    """Pids of the direct children of a process that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:  # it has just ended
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_when_the_launcher_is_killed_its_children_go_too(tmp_path):
    asked = command(tmp_path, "torch.distributed.run", "--nproc_per_node", "2", "--standalone", iterations=100000)
    with (tmp_path / "stderr").open("w") as errors:
        launcher = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=errors, cwd=tmp_path)
    try:
        several.wait_for(tmp_path / "run" / "metrics.jsonl")
        workers = children(launcher.pid)
        assert len(workers) == 2, (tmp_path / "stderr").read_text()
        launcher.kill()
        launcher.wait()
        end = time.monotonic() + LIMIT
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        # The launcher keeps the store: that this is gone may be noticed first.
        assert "its launcher" in (tmp_path / "stderr").read_text()
    finally:
        launcher.kill()
