"""The recipe of `hpedit run`: what is refused before anything starts, and what the stages are given."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from hpedit.editors.usual import UsualSampling, settle
from hpedit.errors import HPEditError
from hpedit.pipeline import new
from hpedit.pipeline.new import write_recipe
from hpedit.pipeline.recipe import RunRecipe, load_run_recipe
from hpedit.pipeline.run import _Run

PACKAGED = Path(new.__file__).parent / "demo.yaml"


def recipe(folder: Path, changes: dict[str, Any] | None = None) -> RunRecipe:
    """A recipe on photographs with some keys changed."""
    data: dict[str, Any] = {
        "output": str(folder / "run"),
        "judge": "mini",
        "cases": {"sources": [{"folder": "photos"}]},
    }
    for key, value in (changes or {}).items():
        section, _, name = key.rpartition(".")
        (data.setdefault(section, {}) if section else data)[name] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_run_recipe(path)


def test_the_defaults_are_enough(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert made.ratings.by == "app"
    assert made.training().scorer == str(tmp_path / "run" / "scorer")
    assert made.candidates().sources[0].folder == "photos"
    assert not made.control


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ratings": {"by": "simulated"}}, "need a mini world"),
        ({"ratings": {"by": "file"}}, "ratings.file is missing"),
        ({"ratings": {"by": "app", "file": "x.csv"}}, "ratings.by is app"),
        ({"ratings": {"by": "run"}}, "ratings.run is missing"),
        ({"bench": {"control": "on"}}, "bench.control needs a mini world"),
        ({"cases.sources": [{"mini": "train"}]}, "train_per_task"),
        ({"cases.sources": [{"mini": "bench"}], "cases.train_per_task": 4}, "brings its own splits"),
        ({"cases.sources": [{"mini": "train"}, {"folder": "x"}], "cases.train_per_task": 4}, "only source"),
        ({"cases.filter": {"by": "drop-solved", "scorer": "x"}}, "leave filter.scorer out"),
        ({"cases.filter": {"by": "informative"}}, "at least 2"),
        ({"train": {"algorithm": "offline_dpo"}, "dpo": {"pairs": "x"}}, "offline_dpo"),
        ({"rollout": {"steps": 4, "window": 2, "window_start": [0, 3]}}, "highest start"),
        ({"speed": 3}, "unknown key"),
    ],
)
def test_mistakes_are_named_before_anything_starts(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(HPEditError, match=says):
        recipe(tmp_path, changes)


def test_the_packaged_demo_is_a_recipe_of_it() -> None:
    demo = load_run_recipe(PACKAGED)
    assert demo.control
    assert demo.training().train.learning_rate == 6e-4
    assert demo.hard_cases(None).sources[0].count == 320


def test_only_what_does_not_shape_the_result_may_change(tmp_path: Path) -> None:
    first = recipe(tmp_path)
    free = {"ratings.port": 9000, "ratings.enough": 0.5, "scorer.force": True}
    assert recipe(tmp_path, free).shaping() == first.shaping()
    assert recipe(tmp_path, {"train.iterations": 7}).shaping() != first.shaping()
    assert recipe(tmp_path, {"ratings.overlap": 2}).shaping() != first.shaping()


@pytest.mark.parametrize("ratings", ["app", "file"])
@pytest.mark.parametrize(
    ("editor", "steps"),
    [
        ("mini", 8),
        ("Qwen/Qwen-Image-Edit-2509", 40),
        ("black-forest-labs/FLUX.1-Kontext-dev", 28),
        ("my/folder: x", 40),
    ],
)
def test_init_writes_a_recipe_that_loads(tmp_path: Path, editor: str, steps: int, ratings: str) -> None:
    words = {"photos": "my photos/1: #a", "editor": editor, "judge": "http://h:1/v1#M", "ratings": ratings}
    path = write_recipe(tmp_path / "new", **words)
    made = load_run_recipe(path)
    assert made.editor.model == editor
    assert made.judge == "http://h:1/v1#M"
    assert made.cases.sources[0].folder == "my photos/1: #a"
    assert made.bench.steps == steps
    assert made.ratings.by == ratings
    with pytest.raises(HPEditError, match="is there already"):
        write_recipe(tmp_path / "new", photos="p", editor="mini", judge="mini", ratings="app")


@pytest.mark.parametrize(
    ("bench", "begun", "expected"),
    [
        ({}, None, (40, 4.0)),
        ({"steps": 20, "cfg": 1.0}, None, (20, 1.0)),
        ({"steps": 20}, None, (20, 4.0)),
        ({}, {"steps": 10, "editor": "weights"}, (10, 1.0)),
        ({}, {"steps": 40, "editor": "weights/cfg4"}, (40, 4.0)),
    ],
    ids=str,
)
def test_the_benchmark_takes_the_models_own_setting_or_that_it_was_begun_with(
    tmp_path: Path, bench: dict[str, Any], begun: dict[str, Any] | None, expected: tuple[int, float]
) -> None:
    run = _Run(recipe(tmp_path, {"bench": bench}), None, "")
    run.__dict__["editor"] = SimpleNamespace(
        usual=UsualSampling(40, 4.0), cfg=1.0, fingerprint="weights", lora_disabled=nullcontext
    )
    if begun is not None:
        folder = tmp_path / "run" / "bench" / "base"
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text(json.dumps({"stage": "bench", "recipe": begun}))
    assert run._deployed() == expected


def test_a_run_of_0_2_0_is_continued(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    settled = made.model_copy(update={"editor": settle(made.editor, accelerator=False)})
    editor = {"model": "mini", "dtype": "float32", "resolution": 32, "base": "full", "device": "auto"}
    assert {key: value for key, value in settled.shaping()["editor"].items() if key in editor} == editor
    assert not {"offload", "frozen_loras"} & settled.shaping()["editor"].keys()
    assert settled.shaping()["bench"]["cfg"] is None, "which a folder without the key has, too"
