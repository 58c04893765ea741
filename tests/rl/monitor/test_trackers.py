"""Trackers that are down, slow, raising or read-only: the run goes on, and data follow when they are back."""

import logging
import socket
import sys
import threading
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.rl.redness import RednessScorer

from hpedit.config.recipe import LogSection
from hpedit.rl.monitor import trackers
from hpedit.rl.monitor.trackers import Tracker, open_tracker
from hpedit.rl.trainer import train


def scalars(folder, name="train/reward"):
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in found.Scalars(name)]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_numbers_are_written_and_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    tracker = open_tracker(LogSection(), tmp_path, 0)
    for step in (1, 2, 3):
        tracker.log(step, {"step": step, "reward": step / 4, "stopped": None, "flag": True, "text": "x"})
    tracker.close()
    again = open_tracker(LogSection(), tmp_path, 2)
    again.log(3, {"reward": 2.0})
    again.close()
    assert scalars(tmp_path / "tensorboard") == [(1, 0.25), (2, 0.5), (3, 2.0)]


def test_a_folder_that_cannot_be_written_warns_once_and_gets_all_data_when_it_can(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(trackers, "RETRY_SECONDS", (0.2,))
    blocker = tmp_path / "tensorboard"
    blocker.write_text("a file where the folder should be: opening below it fails for root, too")
    with caplog.at_level(logging.WARNING):
        tracker = open_tracker(LogSection(), tmp_path, 0)
        for step in (1, 2):
            tracker.log(step, {"reward": float(step)})
        wait_for(lambda: "tensorboard fails, the run continues without it" in caplog.text)
        time.sleep(0.6)
        blocker.unlink()
        wait_for(lambda: "tensorboard works again" in caplog.text)
        tracker.log(3, {"reward": 3.0})
        tracker.close()
    assert caplog.text.count("tensorboard fails") == 1
    assert scalars(tmp_path / "tensorboard") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_whole_run_with_a_folder_that_cannot_be_written(make_recipe, tiny_editor, training_cases, caplog):
    recipe = make_recipe(log={"tensorboard": True})

    class Blocks(RednessScorer):
        def score(self, *args):
            (Path(recipe.output) / "tensorboard").touch()
            return super().score(*args)

    with caplog.at_level(logging.WARNING):
        result = train(recipe, editor=tiny_editor, cases=training_cases, scorer=Blocks())
    assert [record["step"] for record in result.metrics] == [1, 2]
    assert caplog.text.count("tensorboard fails") == 1
    assert "tensorboard lacks 2 records; metrics.jsonl has all" in caplog.text


class OverTheWire:
    """A sink that posts to a server and waits for its answer, as hosted trackers do; no time limit of its own."""

    def __init__(self, port):
        self.connection = socket.create_connection(("127.0.0.1", port))

    def write(self, step, numbers, pictures):
        assert not pictures
        self.connection.sendall(f"{step} {numbers}\n".encode())
        if not self.connection.recv(1):
            raise ConnectionResetError("the server has gone")

    def close(self):
        self.connection.close()


def test_a_server_that_never_answers_neither_slows_nor_holds_the_run(caplog, monkeypatch):
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as server, caplog.at_level(logging.WARNING):
        tracker = Tracker({"hangs": lambda _step: OverTheWire(server.getsockname()[1])})
        began = time.monotonic()
        for step in range(1000):
            tracker.log(step, {"reward": 1.0})
        took = time.monotonic() - began
        tracker.close()
        closed = time.monotonic() - began
    assert took < 0.5, "logging returns at once"
    assert closed < 5
    assert "hangs lacks 1000 records; metrics.jsonl has all" in caplog.text


def test_a_server_that_goes_down_and_comes_back_gets_every_record_once(monkeypatch, caplog):
    monkeypatch.setattr(trackers, "RETRY_SECONDS", (0.1,))
    got, lines = [], threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def serve(count):
        connection, _ = server.accept()
        with connection, connection.makefile() as stream:
            for _ in range(count):
                got.append(int(stream.readline().split()[0]))
                connection.sendall(b"k")
        lines.set()

    with caplog.at_level(logging.WARNING):
        threading.Thread(target=serve, args=(2,), daemon=True).start()
        tracker = Tracker({"server": lambda _step: OverTheWire(port)})
        tracker.log(1, {"reward": 1.0})
        tracker.log(2, {"reward": 1.0})
        assert lines.wait(10)
        server.close()
        tracker.log(3, {"reward": 1.0})
        wait_for(lambda: "server fails" in caplog.text)
        server = socket.create_server(("127.0.0.1", port))
        lines.clear()
        threading.Thread(target=serve, args=(2,), daemon=True).start()
        tracker.log(4, {"reward": 1.0})
        assert lines.wait(10)
        tracker.close()
        server.close()
    assert got == [1, 2, 3, 4]


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed here")
def test_a_tracker_that_is_not_installed_is_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tracker = open_tracker(LogSection(tensorboard=False, trackers=("wandb",)), tmp_path, 0)
        for step in range(5):
            tracker.log(step, {"reward": 1.0})
        wait_for(lambda: "no wandb: wandb is not installed" in caplog.text)
        tracker.close()
    assert len(caplog.records) == 1


def images(folder, name="samples"):
    found = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return [(event.step, event.width, event.height) for event in found.Images(name)]


def test_a_run_shows_its_sample_grids_and_a_resumed_one_shows_each_once(make_recipe, tiny_editor, training_cases):
    recipe = make_recipe(log={"tensorboard": True, "grid_every": 2}, train={"iterations": 4})
    train(recipe, editor=tiny_editor, cases=training_cases, scorer=RednessScorer())
    folder = Path(recipe.output)
    with Image.open(folder / "grids" / "iteration_000002.png") as grid:
        size = grid.size
    assert images(folder / "tensorboard") == [(2, *size), (4, *size)]
    tracker = open_tracker(LogSection(), folder, 3)
    tracker.log(4, {"reward": 1.0}, {"samples": folder / "grids" / "iteration_000004.png"})
    tracker.close()
    assert images(folder / "tensorboard") == [(2, *size), (4, *size)]


def test_a_picture_that_is_gone_holds_nothing_up(tmp_path):
    tracker = open_tracker(LogSection(), tmp_path, 0)
    tracker.log(1, {"reward": 1.0}, {"samples": tmp_path / "gone.png"})
    tracker.close()
    assert scalars(tmp_path / "tensorboard") == [(1, 1.0)]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_hosted_trackers_get_numbers_and_pictures_in_one_call(name, tmp_path, monkeypatch):
    """Through accelerate's own trackers, with the library's place taken by one that keeps what it is given."""
    calls = []
    library = ModuleType(name)
    library.Image = lambda path: ("picture", path)
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("end"))
    library.init = lambda **_settings: run
    monkeypatch.setitem(sys.modules, name, library)
    grid = tmp_path / "grid.png"
    Image.new("RGB", (8, 8)).save(grid)
    tracker = open_tracker(LogSection(tensorboard=False, trackers=(name,)), tmp_path, 0)
    tracker.log(1, {"reward": 1.0})
    tracker.log(2, {"reward": 2.0}, {"samples": grid})
    tracker.close()
    assert calls == [(1, {"reward": 1.0}), (2, {"reward": 2.0, "samples": ("picture", str(grid))}), "end"]
