"""What stops a run before, or early in, its way, and that the corrected command goes on in the same folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.conftest import picture

from hpedit.cases import steps
from hpedit.editors.sizes import MAX_ASPECT
from hpedit.errors import HPEditError
from hpedit.mini.raters import simulate_ratings
from hpedit.mini.world import World
from hpedit.pipeline import new
from hpedit.pipeline.changes import settings_to_claim, take_changes
from hpedit.pipeline.page import render_page
from hpedit.pipeline.recipe import RunRecipe, load_run_recipe
from hpedit.pipeline.run import run_pipeline
from hpedit.pipeline.status import run_status
from hpedit.report.gains import gain_lines
from hpedit.store.shipped import judge_path
from hpedit.store.tables import iter_edits, read_cases, write_cases, write_ratings

SMALL = (
    "cases.rated_per_task=6", "cases.bench_per_task=2", "cases.train_per_task=3", "cases.rated_share=0.45",
    "cases.bench_share=0.15", "cases.filter.by=none", "cases.edits.batch=16", "scorer.probed=8", "scorer.force=true",
    "train.iterations=2", "rollout.groups=2", "rollout.group_size=4", "evaluate.every=0", "log.grid_every=0",
    "log.groups_every=0",
)  # fmt: skip


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        picture(64, 64, number).save(folder / f"{number}.png")
    return folder


def recipe_on(tmp_path: Path, photos: Path, *settings: str) -> RunRecipe:
    file = tmp_path / "new" / "recipe.yaml"
    if not file.is_file():
        new.write_recipe(tmp_path / "new", photos=str(photos), editor="mini", judge="mini", ratings="file")
    return load_run_recipe(file, [f"output={tmp_path / 'run'}", *SMALL, *settings])


def notes(run: Path) -> dict[str, str]:
    return {one["name"]: one["note"] for one in run_status(run)["stages"]}


@pytest.mark.slow
def test_an_unusable_photograph_is_skipped_and_named_and_missing_tasks_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs(tmp_path / "photos", 24)
    Image.new("RGB", (30, 300)).save(photos / "tall.png")
    Image.new("RGB", (300, 1)).save(photos / "line.png")
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0abc")
    with pytest.raises(HPEditError, match=r"ratings\.csv is not there yet"):
        run_pipeline(recipe_on(tmp_path, photos))
    said, cases = capsys.readouterr().err, notes(tmp_path / "run")["cases"]
    for name in ("tall.png", "line.png", "damaged.jpg"):
        assert name in said
        assert name in cases
    for text in (said, cases, (tmp_path / "run" / "candidates" / "log.txt").read_text()):
        assert "no instruction of removal, swap, color: templates need to know an object" in text
    assert len(list(iter_edits(tmp_path / "run" / "ratings" / "edits.parquet"))) > 20


def test_a_picture_is_too_narrow_where_the_editors_say_so() -> None:
    assert steps.MAX_ASPECT == MAX_ASPECT


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ready cases with exact targets."""
    file = tmp_path_factory.mktemp("ready") / "cases.parquet"
    write_cases(file, World().cases("train", 12, 0))
    return file


def rate(run: Path, file: Path) -> None:
    by_id = {case.id: case for case in read_cases(run / "ratings" / "cases.parquet")}
    edits = list(iter_edits(run / "ratings" / "edits.parquet"))
    write_ratings(file, simulate_ratings([by_id[edit.case_id] for edit in edits], edits, 0))


@pytest.mark.slow
def test_a_refused_run_goes_on_in_its_folder_and_a_second_judge_measures_it(tmp_path: Path, ready: Path) -> None:
    table, run = tmp_path / "ratings.csv", tmp_path / "run"
    good = (f"cases.sources=[{{cases: {ready}}}]", f"ratings.file={table}", "scorer.force=true")

    def refused(says: str, *settings: str) -> None:
        with pytest.raises(HPEditError, match=says):
            run_pipeline(recipe_on(tmp_path, tmp_path, *good, *settings))

    refused("is not a folder", "cases.sources=[{folder: nowhere}]")
    refused("no case is left for the", "cases.bench_share=0.0001")
    refused("not there yet")
    assert notes(run)["edits"].endswith("cases")
    made = (run / "ratings" / "edits.parquet").stat().st_mtime_ns
    rate(run, table)
    refused("nowhere", "judge=./nowhere")
    refused("lora.targets|match", "lora.targets=[to_z]")
    assert (run / "ratings" / "edits.parquet").stat().st_mtime_ns == made, "what was made stays"
    # Whose weights differ, if only by a word of its card.
    second = shutil.copytree(judge_path(), tmp_path / "second")
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps(config | {"hpedit_name": "second"}))
    refused("own judge", "bench.second_judge=mini")
    summary = run_pipeline(recipe_on(tmp_path, tmp_path, *good, f"bench.second_judge={second}"))
    assert summary["second"]["n"] == summary["scorer"]["n"]
    assert any(line.startswith("second") for line in gain_lines(summary))
    assert (run / "bench" / "compare" / "report.html").is_file()
    assert 'href="bench/compare/report.html"' in render_page(run, live=False)
    assert "second judge" in notes(run)["bench"]
    with pytest.raises(HPEditError, match="learning_rate"):
        run_pipeline(recipe_on(tmp_path, tmp_path, *good, "train.learning_rate=1e-5"))


def leaky(file: Path, cases: Path) -> None:
    """Every case again under another photograph's name."""
    found = [replace(case, oracle=None) for case in read_cases(cases)]
    again = [
        replace(case, id=f"copy-{case.id}", source_id=f"copy-{case.source_id}", instruction=f"{case.instruction} now")
        for case in found
    ]
    write_cases(file, [*found, *again])


def test_a_leaked_case_is_found_before_anything_is_edited_and_dropped_on_request(tmp_path: Path, ready: Path) -> None:
    file, clean = tmp_path / "cases.parquet", tmp_path / "clean.parquet"
    leaky(file, ready)
    sources = f"cases.sources=[{{cases: {file}}}]"
    with pytest.raises(HPEditError, match=r"held-out cases show photographs that are rated or trained on"):
        run_pipeline(recipe_on(tmp_path, tmp_path, sources, "cases.bench_per_task=40"))
    assert not (tmp_path / "run" / "base_edits").exists()
    with pytest.raises(HPEditError, match="not there yet"):
        run_pipeline(
            recipe_on(tmp_path, tmp_path, sources, "cases.bench_per_task=40", "bench.leaked=drop",
                      "cases.rated_per_task=1", "cases.train_per_task=1")
        )  # fmt: skip
    assert "leaked cases left out of the benchmark" in notes(tmp_path / "run")["cases"]
    found = json.loads((tmp_path / "run" / "splits" / "checked.json").read_text())["leaked"]
    kept = {case.id for case in read_cases(tmp_path / "run" / "splits" / "bench.parquet")}
    assert found
    assert kept
    assert not kept & found.keys()
    assert not clean.exists()


def state(run: Path, **phases: str) -> None:
    base: dict[str, Any] = {"seconds": 1.0, "done": 0, "total": 0, "doing": "", "note": "", "eta": None}
    stages = [{"name": name.replace("_", " "), "phase": phase} | base for name, phase in phases.items()]
    (run / "state.json").write_text(json.dumps({"stages": stages}))


def claim(recipe: RunRecipe) -> None:
    recipe.path.mkdir()
    kept = {"stage": "run", "recipe": recipe.shaping(), "inputs": {}}
    (recipe.path / "recipe.json").write_text(json.dumps(kept))


def test_a_setting_may_change_until_a_finished_stage_has_read_it(tmp_path: Path) -> None:
    first = recipe_on(tmp_path, tmp_path)
    claim(first)
    state(first.path, cases="done", edits="done", ratings="done", scorer="failed")
    for path in ("ratings/ratings.csv", "ratings/edits.parquet", "scorer/scorer.json"):
        (first.path / path).parent.mkdir(exist_ok=True)
        (first.path / path).write_text("")
    other = recipe_on(tmp_path, tmp_path, "judge=./another", "seed=3")
    assert settings_to_claim(other)["judge"] == "mini", "taken: as in the folder"
    assert settings_to_claim(other)["seed"] == 3, "refused"
    assert take_changes(other) == ["judge"]
    assert not (first.path / "scorer").exists()
    assert (first.path / "ratings" / "ratings.csv").exists()
    assert take_changes(recipe_on(tmp_path, tmp_path, "judge=./another")) == []
    kept = json.loads((first.path / "recipe.json").read_text())["recipe"]
    assert (kept["judge"], kept["seed"]) == ("./another", 0)


def test_a_folder_of_an_earlier_version_is_taken(tmp_path: Path) -> None:
    first = recipe_on(tmp_path, tmp_path)
    claim(first)
    there = json.loads((first.path / "recipe.json").read_text())
    del there["recipe"]["bench"]["leaked"]
    there["recipe"]["bench"]["second_judge"] = None
    (first.path / "recipe.json").write_text(json.dumps(there))
    state(first.path, cases="done", report="done", bench="done")
    assert take_changes(first) == []
    assert json.loads((first.path / "recipe.json").read_text())["recipe"] == first.shaping()
