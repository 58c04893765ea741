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
from tests.shared_data import shared_data

PROGRAM = """
import sys
from pathlib import Path
from hpedit.demo import DemoSize, run_demo
size = DemoSize(rated_per_task=9, candidates_per_task=4, bench_per_task=3, iterations=3, groups=3, group_size=4)
run_demo(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None, 0, size)
"""
FILES = ("report.html", "report.json", "summary.json")


def start(out: Path, *photos: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(out), *photos]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(out: Path, *photos: str) -> tuple[dict[str, Any], str]:
    process = start(out, *photos)
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
def test_K1_killed_at_any_moment_it_continues_to_the_same_result(
    undisturbed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    marks = (
        "ratings/second/rows.jsonl",
        "scorer/scorer.json",
        "cases/base/rows.jsonl",
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
def test_the_loop_runs_on_real_coco_photographs(tmp_path: Path) -> None:
    folder = shared_data("magicbrush/source")
    summary, _ = finish(tmp_path / "run", str(folder))
    assert summary["n"] == 24
    assert "magicbrush" in (tmp_path / "run" / "report.html").read_text()
