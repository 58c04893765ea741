"""A whole run: in the mini world, killed in every stage; and on photographs, with raters at the served page."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.conftest import picture
from tests.rate.serving import Rater

from hpedit.errors import HPEditError
from hpedit.pipeline import new
from hpedit.pipeline.page import render_page
from hpedit.pipeline.state import RunState
from hpedit.pipeline.status import run_status, status_lines

DEMO = Path(new.__file__).parent / "demo.yaml"
SMALL = [
    "cases.rated_per_task=9",
    "cases.train_per_task=4",
    "cases.bench_per_task=3",
    "train.iterations=3",
    "rollout.groups=3",
    "rollout.group_size=4",
    "log.grid_every=1",
    "log.groups_every=1",
    "evaluate.every=1",
]


def start(recipe: Path, out: Path, *settings: str) -> subprocess.Popen[str]:
    words = [word for setting in (*settings, f"output={out}") for word in ("--set", setting)]
    command = [sys.executable, "-m", "hpedit", "run", str(recipe), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(recipe: Path, out: Path, *settings: str) -> tuple[dict[str, Any], str]:
    process = start(recipe, out, *settings)
    stdout, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr
    return json.loads((out / "summary.json").read_text()), stdout


def kill_at(process: subprocess.Popen[str], mark: Path, how: signal.Signals = signal.SIGKILL) -> None:
    deadline = time.monotonic() + 600
    while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate()
    assert mark.exists(), mark


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_in_the_same_figures(tmp_path: Path) -> None:
    expected, _ = finish(DEMO, tmp_path / "undisturbed", *SMALL)
    out = tmp_path / "run"
    marks = (
        "splits/rated.parquet", "base_edits/second/rows.jsonl", "ratings/ratings.csv", "scorer/scorer.json",
        "cases/6-edits/000000.parquet", "train/metrics.jsonl", "control/recipe.json", "bench/post/recipe.json",
    )  # fmt: skip
    for mark in marks:
        process = start(DEMO, out, *SMALL)
        kill_at(process, out / mark)
        assert not (out / "summary.json").exists(), f"{mark} came too late to be killed"
        status = run_status(out)
        assert status["phase"] == "stopped"
        assert "again" in status["next"]
    summary, stdout = finish(DEMO, out, *SMALL)
    for key in ("oracle", "scorer", "tasks", "control", "n"):
        assert summary[key] == expected[key]
    assert stdout.strip().splitlines()[-1] == f"report: {out / 'report.html'}"
    assert run_status(out)["phase"] == "done"
    page = (out / "index.html").read_text()
    assert "<script" not in page
    assert 'http-equiv="refresh"' not in page, "a finished run's page stays"
    assert 'href="report.html"' in page
    process = start(DEMO, out, *SMALL, "train.learning_rate=1e-4")
    assert "learning_rate" in process.communicate(timeout=300)[1]
    assert process.returncode == 2


@pytest.mark.slow
def test_moved_and_prolonged_it_ends_in_the_figures_of_one_that_was_as_long_from_the_beginning(tmp_path: Path) -> None:
    whole, _ = finish(DEMO, tmp_path / "whole", *SMALL)
    finish(DEMO, tmp_path / "short", *SMALL, "train.iterations=1")
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    (tmp_path / "short").rename(moved)
    edited = (moved / "bench" / "base" / "rows.jsonl").stat().st_mtime_ns
    same, _ = finish(DEMO, moved, *SMALL, "train.iterations=1")
    assert same["oracle"] != whole["oracle"]
    longer, _ = finish(DEMO, moved, *SMALL)
    for key in ("oracle", "scorer", "tasks", "control", "n"):
        assert longer[key] == whole[key]
    assert (moved / "bench" / "base" / "rows.jsonl").stat().st_mtime_ns == edited, "the base is not measured again"
    process = start(DEMO, moved, *SMALL, "train.iterations=2")
    assert "train.iterations was 3, is now 2" in process.communicate(timeout=300)[1]
    assert process.returncode == 2


def rate_all(base: str, name: str) -> None:
    """A rater who likes edits that differ from their source."""
    deadline = time.monotonic() + 400
    while True:
        try:
            rater = Rater(base, name)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
    while (item := rater.next()) is not None:
        source, edit = (
            np.asarray(Image.open(io.BytesIO(rater.picture(address).content)).convert("RGB"), np.float64)
            for address in (item["source"], item["edits"][0])
        )
        rater.answer(item, int(np.clip(np.abs(source - edit).mean() / 8, 0, 5)))


@pytest.mark.slow
def test_a_run_on_photographs_serves_the_page_and_goes_on_by_itself(tmp_path: Path, free_port: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(24):
        picture(64, 64, number).save(photos / f"{number}.png")
    recipe = new.write_recipe(tmp_path / "new", photos=str(photos), editor="mini", judge="mini", ratings="app")
    out = tmp_path / "run"
    settings = [
        f"ratings.port={free_port}", "ratings.practice=0", "ratings.retest=0", "cases.rated_share=0.4",
        "cases.rated_per_task=6", "cases.bench_per_task=2", "train.iterations=2", "rollout.groups=2",
        "rollout.group_size=4", "evaluate.every=0", "scorer.force=true", "cases.filter.by=none",
    ]  # fmt: skip
    process = start(recipe, out, *settings)
    raters = [
        threading.Thread(target=rate_all, args=(f"http://127.0.0.1:{free_port}", name), daemon=True)
        for name in ("Ann", "Bob")
    ]
    for rater in raters:
        rater.start()
    stdout, stderr = process.communicate(timeout=800)
    ratings = (out / "ratings" / "ratings.csv").read_text().splitlines()
    stages = {one["name"]: one for one in run_status(out)["stages"]}
    assert stages["ratings"]["phase"] == "done", stderr
    edits = int(stages["edits"]["note"].split()[0])
    assert len(ratings) - 1 == 2 * edits, "two raters an edit"
    if process.returncode:
        # Raters who only measure how far an edit moved may give the judge nothing to be calibrated on.
        assert "no signal" in stderr
        assert stages["scorer"]["phase"] == "failed"
    else:
        assert stdout.strip().endswith(f"report: {out / 'report.html'}")


@pytest.mark.slow
def test_a_file_of_ratings_is_asked_for_and_then_taken(tmp_path: Path) -> None:
    table, out = tmp_path / "ratings.csv", tmp_path / "run"
    settings = [*SMALL, "ratings.by=file", f"ratings.file={table}"]
    process = start(DEMO, out, *settings)
    stderr = process.communicate(timeout=600)[1]
    assert process.returncode == 2
    assert f"{table} is not there yet" in stderr
    finish(DEMO, tmp_path / "other", *SMALL)
    table.write_bytes((tmp_path / "other" / "ratings" / "ratings.csv").read_bytes())
    summary, _ = finish(DEMO, out, *settings)
    assert summary["n"] == 24
    borrowed, _ = finish(DEMO, tmp_path / "third", *SMALL, "ratings.by=run", f"ratings.run={out}")
    assert borrowed["scorer"] == summary["scorer"]


def test_the_state_tells_where_a_run_is(tmp_path: Path) -> None:
    state = RunState(tmp_path, ["cases", "train"])
    with state.stage("cases") as one:
        one.note = "40 cases of twelve photographs; " * 4

    def fail() -> None:
        with state.stage("train"):
            state.progress("edit", 1, 4)
            raise HPEditError("the judge is gone")

    with pytest.raises(HPEditError, match="judge is gone"):
        fail()
    status = run_status(tmp_path)
    assert [one["phase"] for one in status["stages"]] == ["done", "failed"]
    assert status["stages"][1]["note"] == "the judge is gone"
    lines = status_lines(status)
    assert max(len(line) for line in lines) <= 80
    assert any("the judge is gone" in line for line in lines)
    again = RunState(tmp_path, ["cases", "train"])
    assert [one.phase for one in again.stages] == ["done", "pending"]
    page = render_page(tmp_path, live=False)
    assert "the judge is gone" in page
    assert "<script" not in page


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="not a folder of `hpedit run`"):
        run_status(tmp_path)
