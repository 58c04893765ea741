"""The demo end to end at its smallest, killed and continued, and on a user's own photographs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from tests.shared_data import shared_data

PROGRAM = """
import sys
from pathlib import Path
from hpedit.experiments.demo import DemoSize, run_demo
size = DemoSize(rated_per_task=9, candidates_per_task=4, bench_per_task=3, iterations=3, groups=3, group_size=4)
photos, objects = (Path(argument) for argument in sys.argv[2:]) if len(sys.argv) > 2 else (None, None)
run_demo(Path(sys.argv[1]), photos, 0, size, objects)
"""
FILES = ("report.html", "report.json", "summary.json")


def start(out: Path, *folders: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(out), *folders]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(out: Path, *folders: str) -> tuple[dict[str, Any], str]:
    process = start(out, *folders)
    stdout, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr
    return json.loads((out / "summary.json").read_text()), stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, *finish(out)


@pytest.mark.slow
def test_summary_has_the_promised_shape(undisturbed: tuple[Path, dict[str, Any], str]) -> None:
    out, summary, stdout = undisturbed
    for instrument in ("oracle", "scorer"):
        for name in ("base", "post", "gain"):
            block = summary[instrument][name]
            low, high = block["ci95"]
            assert low <= block["mean"] <= high
    assert len(summary["tasks"]) == 8
    assert all({"oracle", "scorer"} <= set(block) for block in summary["tasks"].values())
    assert {"ratings", "scorer", "cases", "train", "control", "bench"} <= set(summary["seconds"])
    assert summary["control"]["oracle"]["gain"]
    assert all((out / name).stat().st_size > 0 for name in FILES)
    *_, oracle, scorer, report = stdout.strip().splitlines()
    assert oracle.startswith("oracle")
    assert "interval" in scorer
    assert report == f"report: {out / 'report.html'}"


@pytest.mark.slow
def test_report_says_what_was_simulated_and_loads_nothing(undisturbed: tuple[Path, dict[str, Any], str]) -> None:
    page = (undisturbed[0] / "report.html").read_text()
    assert "simulated" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert "hpedit demo --out" in page


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_result(
    undisturbed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    marks = (
        "base_edits/second/rows.jsonl",
        "scorer/scorer.json",
        "cases/6-edits/000000.parquet",
        "train/metrics.jsonl",
        "bench/post/recipe.json",
    )
    for mark in marks:
        process = start(out)
        deadline = time.monotonic() + 600
        while not (out / mark).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert (out / mark).exists(), mark
        assert not (out / "summary.json").exists(), f"{mark} came too late to be killed"
    summary, _ = finish(out)
    expected = undisturbed[1]
    for key in ("oracle", "scorer", "tasks", "control", "n"):
        assert summary[key] == expected[key]


@pytest.mark.slow
def test_the_loop_runs_on_real_coco_photographs_with_cut_outs(tmp_path: Path) -> None:
    photos, objects = shared_data("magicbrush/source"), tmp_path / "cutouts"
    objects.mkdir()
    for number, name in enumerate(("mug", "red fox", "owl", "tent", "yellow hat")):
        picture = Image.new("RGBA", (50, 50))
        ImageDraw.Draw(picture).regular_polygon((25, 25, 24), 3 + number, fill=(240, 50 * number, 90, 255))
        picture.save(objects / f"{name}.png")
    summary, _ = finish(tmp_path / "run", str(photos), str(objects))
    assert summary["n"] == 24
    page = (tmp_path / "run" / "report.html").read_text()
    assert "magicbrush" in page
    assert "5 different cut-outs" in page
