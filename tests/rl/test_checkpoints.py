"""Checkpoints of a run: what the disk, another version and another place do to them."""

import logging
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.rl import several
from tests.rl.redness import RednessScorer

from hpedit.errors import HPEditError
from hpedit.rl.rng import forked, restore_rng, rng_tensors, seed_all
from hpedit.rl.trainer import train
from hpedit.store.atomic import read_json
from hpedit.store.checkpoint import load_latest, save_checkpoint


@pytest.fixture
def start(tiny_editor, training_cases):
    def run(recipe, scorer=None, **options):
        scorer = scorer or RednessScorer()
        return train(recipe, editor=tiny_editor, cases=training_cases, scorer=scorer, **options)

    return run


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint_and_one_error(start_several, make_recipe, tmp_path):
    recipe = make_recipe(tmp_path / "run", train={"iterations": 3})
    ran = start_several(recipe, size=1, faults={("save", 0, 2): "full"})
    assert ran.codes() == [2]
    checkpoints = tmp_path / "run" / "checkpoints"
    assert f"error: the checkpoint of iteration 2 can't be written to {checkpoints}" in ran.stderr(0)
    assert "iteration 1 is kept" in ran.stderr(0)
    assert "Traceback" not in ran.stderr(0)
    assert [path.name for path in checkpoints.iterdir()] == ["step_000001"]
    resumed = several.train_here(recipe.resolved(), {}, tmp_path)
    whole = several.train_here(make_recipe(tmp_path / "whole", train={"iterations": 3}).resolved(), {}, tmp_path)
    assert read(resumed) == read(whole)


def read(result):
    return (result.lora / "pytorch_lora_weights.safetensors").read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_no_space_left(start, make_recipe, small_disk):
    with pytest.raises(HPEditError, match=r"can't be written.*No space left") as caught:
        start(make_recipe(small_disk / "run", train={"iterations": 9}, lora={"rank": 8}))
    assert "make room" in caught.value.hint
    assert not list((small_disk / "run").rglob("*.tmp-*"))


class Enough(BaseException):
    pass


def start_until(start, recipe, done, base=RednessScorer):
    """Run, and leave as by a kill when so many iterations are done."""

    class Leaves(base):
        def score(self, *args):
            if self.calls == done:
                raise Enough
            return super().score(*args)

    with pytest.raises(Enough):
        start(recipe, Leaves())


def test_no_whole_checkpoint_is_an_error_not_a_new_start(start, make_recipe):
    recipe = make_recipe(train={"iterations": 3})
    start_until(start, recipe, 1)
    folder = Path(recipe.output) / "checkpoints" / "step_000001"
    (folder / "lora.safetensors").write_bytes(b"")
    with pytest.raises(HPEditError, match="none of its checkpoints is whole") as caught:
        start(recipe)
    assert "remove that folder" in caught.value.hint
    assert folder.exists()


def test_resume_needs_a_checkpoint(start, make_recipe):
    recipe = make_recipe()
    start_until(start, recipe, 0)
    with pytest.raises(HPEditError, match="holds nothing to continue"):
        start(recipe, resume=True)
    start(recipe)
    assert start(recipe, resume=True).iterations == 2


def test_stray_folders_are_ignored(start, make_recipe, tmp_path):
    whole = start(make_recipe(tmp_path / "whole"))
    recipe = make_recipe(tmp_path / "run", train={"iterations": 2})
    start_until(start, recipe, 1)
    for name in ("step_foo", "step_000009.tmp-abc", "notes"):
        (tmp_path / "run" / "checkpoints" / name).mkdir()
    assert read(start(recipe)) == read(whole)
    assert (tmp_path / "run" / "checkpoints" / "step_foo").exists()


def test_another_version_of_torch_is_said(start, make_recipe, caplog, monkeypatch):
    recipe = make_recipe(train={"iterations": 3})
    start_until(start, recipe, 1)
    assert read_json(recipe.output + "/checkpoints/step_000001/state.json")["made_with"]["processes"] == 1
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    with caplog.at_level(logging.WARNING):
        start(recipe)
    assert "is 9.9.9: the same run up to rounding, not bit for bit" in caplog.text


def test_what_lies_after_the_resume_point_is_removed(start, make_recipe, tmp_path):
    recipe = make_recipe(train={"iterations": 4}, checkpoint={"every": 2}, log={"grid_every": 1})
    start_until(start, recipe, 3)
    run = tmp_path / "run"
    assert (run / "grids" / "iteration_000003.png").exists()
    (run / "faulty" / "iteration_000003").mkdir(parents=True)
    (run / "groups" / "iteration_000003").mkdir(parents=True)
    seen = {}

    class Looks(RednessScorer):
        def score(self, *args):
            seen.setdefault("grids", sorted(path.name for path in (run / "grids").iterdir()))
            seen.setdefault("metrics", (run / "metrics.jsonl").read_text().count("\n"))
            return super().score(*args)

    start(recipe, Looks())
    assert seen == {"grids": ["iteration_000001.png", "iteration_000002.png"], "metrics": 2}
    assert (run / "faulty" / "iteration_000003").exists(), "what failed is kept"
    assert not (run / "groups" / "iteration_000003").exists()


def test_the_generators_of_python_numpy_and_torch_go_on_where_they_were(tmp_path):
    def draw():
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))

    before = random.getstate()
    with forked():
        seed_all(2**40 + 7)
        draw()  # leaves half a pair of normals behind
        save_checkpoint(tmp_path, 1, {"rng": rng_tensors()}, {})
        expected = [draw() for _ in range(3)]
        seed_all(1)
        restore_rng(load_latest(tmp_path).tensors["rng"])
        assert [draw() for _ in range(3)] == expected
    assert random.getstate() == before


def test_a_scorer_that_draws_from_the_global_generators_is_repeated(start, make_recipe, tmp_path):
    class Noisy(RednessScorer):
        def score(self, *args):
            drawn = random.random() + np.random.rand() + float(torch.rand(()))
            self.answer = lambda _, value: min(5.0, value / 2 + drawn / 2)
            return super().score(*args)

    changes = {"train": {"iterations": 3}}
    whole = start(make_recipe(tmp_path / "a", **changes), Noisy())
    recipe = make_recipe(tmp_path / "b", **changes)
    start_until(start, recipe, 2, base=Noisy)
    random.seed(1)
    assert start(recipe, Noisy()).metrics[2]["score_mean"] == whole.metrics[2]["score_mean"]
