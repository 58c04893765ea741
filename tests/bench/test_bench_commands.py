"""The commands of `hpedit bench` from files to files, on the shipped mini editor and judge."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.bench.made import planted, rows
from tests.scorer.probe_world import world
from typer.testing import CliRunner

from hpedit.bench.bench_folder import EDITS, PARTS, ROWS, SCORES
from hpedit.cli.bench import bench
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Rating
from hpedit.store.atomic import read_jsonl
from hpedit.store.tables import iter_edits, read_cases, write_cases, write_ratings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Held-out cases, and a scorer of the mini judge fitted on a few edits."""
    from hpedit.scorer.fitting import fit_judged, load_judges, rated_pictures

    folder = tmp_path_factory.mktemp("bench")
    write_cases(folder / "cases.parquet", make_cases(embedded_tiles("bench"), 1, 3, "bench"))  # of eight photos
    cases, edits, truth = world(3, "calibration")
    ratings = [Rating(edit.id, "r", round(2 * truth[edit.id]) / 2, simulated=True) for edit in edits]
    fit_judged(rated_pictures(cases, edits, ratings), load_judges(["mini"]), folder / "scorer")
    return SimpleNamespace(folder=folder, cases=folder / "cases.parquet", scorer=folder / "scorer")


def words(given: SimpleNamespace, out: Path, *more: str) -> list[str]:
    return ["--editor", "mini", "--cases", str(given.cases), "--steps", "3", "--batch", "2", "--out", str(out), *more]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(bench, list(arguments))
    if result.exception:
        raise result.exception
    return result.stdout


def content(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in [path / EDITS, path / ROWS, *sorted((path / SCORES).iterdir())]
    }


def test_killed_anywhere_and_repeated_is_as_if_undisturbed(given: SimpleNamespace, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpedit", "bench", "run"]
    torn = words(given, tmp_path / "torn", "--label", "m", "--scorer", str(given.scorer))
    kill_when = (
        lambda: len(list((tmp_path / "torn" / PARTS).glob("0*.parquet"))) >= 1,
        lambda: any(len(read_jsonl(file)) >= 2 for file in (tmp_path / "torn" / SCORES).glob("*.jsonl")),
    )
    ended = []
    for ready in kill_when:
        child = subprocess.Popen([*command, *torn], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 300
            while not ready() and child.poll() is None:
                assert time.monotonic() < deadline, "the child made no progress"
                time.sleep(0.002)
        finally:
            child.kill()
            ended.append(child.wait())
    assert -signal.SIGKILL in ended, "each run was over before it could be killed"
    # In processes of their own, too: other tests may have changed this one's number of threads, on which bits depend.
    for asked in (torn, words(given, tmp_path / "whole", "--label", "m", "--scorer", str(given.scorer))):
        done = subprocess.run([*command, *asked], capture_output=True, text=True, timeout=300, check=True)
        assert "Cases per second" in done.stdout
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


def test_run_score_compare_report(given: SimpleNamespace, tmp_path: Path) -> None:
    base, copies, out = (tmp_path / name for name in ("base", "copies", "compare"))
    table = run("run", *words(given, base, "--scorer", str(given.scorer), "--second-judge", "mini", "--same-judge"))
    assert "the scorer's own judge, uncalibrated" in table
    images = tmp_path / "images"
    images.mkdir()
    for case in read_cases(given.cases):
        case.source.save(images / f"{case.id}.png")
    score = ["score", "--edits", str(images), "--cases", str(given.cases), "--out", str(copies)]
    alone = json.loads(run(*score, "--json"))
    assert [one["key"] for one in alone["instruments"]] == ["oracle"]
    scored = json.loads(run(*score, "--scorer", str(given.scorer), "--json"))
    assert [one["key"] for one in scored["instruments"]] == ["oracle", "scorer"]
    ids = [edit.id for path in (base, copies) for edit in iter_edits(path / EDITS)]
    write_ratings(
        tmp_path / "ratings.csv", [Rating(name, "ann", 2.0 if name.startswith("base") else 1.0) for name in ids]
    )
    shown = run(
        "compare", str(base), str(copies), "--out", str(out), "--ratings", str(tmp_path / "ratings.csv"), "--seed", "3"
    )
    assert "copies: Worse edits: the oracle and people see it" in shown
    assert "ALARM closeness of copies" in shown
    assert "100% of copies" in shown
    result = json.loads((out / "compare.json").read_text())
    people = next(one for one in result["instruments"] if one["key"] == "human")
    assert people["overall"]["models"]["copies"]["gain"]["mean"] == -1.0
    page = (out / "report.html").read_bytes()
    assert b"data:image/png" in page
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    (out / "report.html").unlink()
    assert run("report", str(out)).strip() == str(out / "report.html")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_the_scorers_own_judge_is_taken_by_name_alone(given: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="the scorer's own judge"):
        run("run", *words(given, tmp_path / "b", "--scorer", str(given.scorer), "--second-judge", "mini"))
    with pytest.raises(HPEditError, match="the scorer's own judge"):
        run("run", *words(given, tmp_path / "b", "--scorer", str(given.scorer), "--second-judge", str(given.scorer)))
    run("run", *words(given, tmp_path / "b", "--scorer", str(given.scorer)))
    # The scorer is remembered: naming the judge alone, later, does not make it independent.
    with pytest.raises(HPEditError, match="the scorer's own judge"):
        run("run", *words(given, tmp_path / "b", "--second-judge", "mini"))


def test_a_lora_is_held_against_the_cases_of_its_run(given: SimpleNamespace, tmp_path: Path) -> None:
    lora = tmp_path / "run" / "lora"
    lora.mkdir(parents=True)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"stage": "train", "recipe": {"cases": str(given.cases)}}))
    with pytest.raises(HPEditError, match="8 of 8 cases are in the training data"):
        run("run", *words(given, tmp_path / "out", "--lora", str(lora)))
    with pytest.raises(HPEditError, match="8 of 8 cases are in the training data"):
        run("run", *words(given, tmp_path / "out", "--trained-on", str(given.cases)))


def test_a_comparison_is_not_written_into_a_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        planted(tmp_path / name, name, rows(name, 4))
    with pytest.raises(HPEditError, match="is the benchmark of a model"):
        run("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "b"))
    with pytest.raises(HPEditError, match="is not the folder of a comparison"):
        run("report", str(tmp_path / "a"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("of a demo")
    with pytest.raises(HPEditError, match=r"is not empty: it has report\.html"):
        run("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "report.html").read_text() == "of a demo"
    shown = run("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c"))
    assert run("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")) == shown
    assert "report: " in shown
    assert b"pixelated" not in (tmp_path / "c" / "report.html").read_bytes().partition(b"</style>")[2]
