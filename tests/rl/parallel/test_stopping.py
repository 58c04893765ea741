"""Signals to a real training run, at every kind of moment."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.rl import several

from hpedit.rl.parallel import stopping
from hpedit.store.atomic import read_jsonl
from hpedit.store.checkpoint import load_latest

ITERATIONS = 3


@pytest.fixture
def recipe(make_recipe, tmp_path):
    """Only what a signal saves is there to continue from, but for the last test."""

    def make(name, every=10, algorithm="flow_grpo"):
        train = {"iterations": ITERATIONS, "algorithm": algorithm}
        return make_recipe(tmp_path / name, train=train, checkpoint={"every": every})

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run comes to that nobody stops."""
    found = {}

    def of(asked):
        if not found:
            folder = tmp_path_factory.mktemp("whole")
            several.train_here(asked.model_copy(update={"output": str(folder / "run")}).resolved(), {}, folder)
            found[0] = outcome(folder / "run")
        return found[0]

    return of


def outcome(folder):
    records = read_jsonl(folder / "metrics.jsonl")
    metrics = [{k: v for k, v in record.items() if not k.startswith("seconds")} for record in records]
    return (folder / "lora" / "pytorch_lora_weights.safetensors").read_bytes(), metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "count", "every", "signum", "done"),
    [
        # An iteration has three forwards of sampling, then four of training.
        ("forward", 9, 10, signal.SIGTERM, 1),  # sampling, in the second iteration
        ("score", 2, 10, signal.SIGINT, 1),  # judging
        ("forward", 13, 10, signal.SIGTERM, 1),  # training
        ("forward", 2, 10, signal.SIGINT, 0),  # sampling, before anything is learnt
        ("save", 1, 1, signal.SIGTERM, 1),  # saving
    ],
)
def test_the_first_signal_saves_at_a_safe_point_and_the_run_ends_as_if_it_had_not_come(
    start_several, recipe, whole, tmp_path, where, count, every, signum, done
):
    # The old policy of NFT is swapped in while it samples: it must not stay so.
    asked = recipe("stopped", every, algorithm="nft")
    ran = start_several(asked, size=1, faults={(where, 0, count): "wait"})
    [pid] = ran.wait_here()
    os.kill(pid, signum)
    assert ran.codes() == [128 + signum]
    assert "stops at the next safe point" in ran.stderr(0)
    newest = load_latest(tmp_path / "stopped" / "checkpoints")
    assert (newest.step if newest else 0) == done
    assert f"after iteration {done} of {ITERATIONS}" in (tmp_path / "stopped" / "log.txt").read_text()
    several.train_here(asked.resolved(), {}, tmp_path)
    assert outcome(tmp_path / "stopped") == whole(asked)


@pytest.mark.slow
def test_a_second_signal_leaves_at_once(start_several, recipe):
    ran = start_several(recipe("run"), size=1, faults={("forward", 0, 3): "stall"})
    [pid] = ran.wait_here()
    os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(pid, signal.SIGINT)  # the same Ctrl-C, passed on by a launcher
    time.sleep(stopping.DUPLICATE + 0.3)
    assert ran.processes[0].is_alive()
    os.kill(pid, signal.SIGINT)
    assert ran.codes(10.0) == [130]
    assert "exiting at once" in ran.stderr(0)


@pytest.mark.slow
def test_the_command_says_in_one_line_how_to_go_on(tmp_path):
    recipe = several.recipe_file(tmp_path, iterations=100000)
    asked = [sys.executable, "-m", "hpedit", "train", str(recipe)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        several.wait_for(tmp_path / "run" / "metrics.jsonl")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == ""
    done = load_latest(tmp_path / "run" / "checkpoints").step
    assert err.splitlines()[-1] == f"stopped by SIGTERM after iteration {done} of 100000: the same command continues"


def test_what_is_committed_is_finished():
    with stopping.listening():
        stopping.commit()
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 5
        while stopping.stop_signal() is None and time.monotonic() < end:
            time.sleep(0.01)
        stopping.safe_point("committed")
        stopping.release()
        with pytest.raises(stopping.StopAsked) as stop:
            stopping.safe_point("free")
        assert stop.value.code == 143
    assert not isinstance(stop.value, Exception), "nothing on the way may take it for a failure"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_ignored_signal_stays_ignored_and_a_thread_needs_no_handlers():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    entered = []

    def elsewhere():
        with stopping.listening():
            entered.append(stopping.stop_signal())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [None]
