"""A benchmark edits every case from the same noise, does nothing twice, and survives a kill at any moment."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import picture

from hpedit.bench import benchmark_run as bench
from hpedit.bench.bench_folder import BenchFolder, Instrument
from hpedit.bench.benchmark_run import run_bench
from hpedit.errors import HPEditError
from hpedit.mini.oracle import score_edit
from hpedit.records import Case, OracleKey, Score
from hpedit.report.picture_selection import collect_pictures
from hpedit.seeds import edit_seed

ROOT = Path(__file__).parents[2]
STEPS = 2


class Brightness:
    """A scorer that computes: the edit's mean brightness on 0-5; it cannot score the cases it is told."""

    fingerprint = "brightness"

    def __init__(self, blind=()):
        self.blind, self.asked = set(blind), []

    def score(self, cases, images, edit_ids=None):
        self.asked += [case.id for case in cases]
        return [
            Score(name, self.fingerprint, None, reason="told not to")
            if case.id in self.blind
            else Score(name, self.fingerprint, float(np.asarray(image).mean()) / 51)
            for case, image, name in zip(cases, images, edit_ids, strict=True)
        ]


def exact(case):
    size = case.source.size
    target = Image.eval(case.source, lambda value: 255 - value)
    oracle = OracleKey(target, Image.new("L", size, 255))
    return Case(case.id, case.task, case.instruction, case.sources, case.source_id, oracle=oracle)


@pytest.fixture
def cases(make_case):
    made = [make_case(f"case-{i}", seed=i) for i in range(4)]
    wide = make_case("wide", sizes=((64, 32),), seed=9)
    return [exact(made[0]), wide, *(exact(case) for case in made[1:3]), made[3]]


def contents(path):
    names = [bench.EDITS, bench.ROWS, *sorted(file.relative_to(path).as_posix() for file in path.glob("scores/*"))]
    return [(name, (path / name).read_bytes()) for name in names]


def test_every_case_is_edited_and_scored(tiny_editor, cases, tmp_path):
    scorer = Brightness(blind=["case-2"])
    folder = run_bench(tiny_editor, cases, scorer, tmp_path / "base", seed=3, steps=STEPS, label="base", batch=2)
    rows = {row.case_id: row for row in folder.rows()}
    edits = {edit.case_id: edit for edit in folder.edits()}
    assert set(rows) == set(edits) == {case.id for case in cases}
    assert rows["case-2"].score is None
    assert rows["case-2"].reason == "told not to"
    assert rows["wide"].score == pytest.approx(np.asarray(edits["wide"].image).mean() / 51)
    assert rows["wide"].oracle is None
    assert rows["case-0"].oracle == score_edit(cases[0], edits["case-0"].image)
    assert rows["case-0"].copy_oracle == score_edit(cases[0], cases[0].source)
    assert edits["case-0"].seed == edit_seed("case-0", 3) == rows["case-0"].seed
    assert set(folder.seconds) == {"edit", "measure", "scorer"}
    assert not (folder.path / bench.PARTS).exists()


def test_a_finished_benchmark_is_not_done_again(tiny_editor, cases, tmp_path):
    settings = {"seed": 0, "steps": STEPS, "label": "base"}
    run_bench(tiny_editor, cases, Brightness(), tmp_path / "b", **settings)
    scorer = Brightness()
    folder = run_bench(tiny_editor, cases, scorer, tmp_path / "b", **settings)
    assert scorer.asked == []
    assert len(folder.rows()) == len(cases)


def test_a_scorer_added_later_scores_and_nothing_else(tiny_editor, cases, tmp_path, monkeypatch):
    settings = {"seed": 0, "steps": STEPS, "label": "base"}
    plain = run_bench(tiny_editor, cases, None, tmp_path / "b", **settings)
    before = [(plain.path / name).read_bytes() for name in (bench.EDITS, bench.ROWS)]
    assert plain.instruments() == []
    monkeypatch.setattr(bench, "_edit_all", None)
    monkeypatch.setattr(bench, "_add_rows", None)
    first = run_bench(tiny_editor, cases, Brightness(), tmp_path / "b", **settings)
    second, asked = Instrument("dim", "second", "dim"), Brightness()
    again = run_bench(tiny_editor, cases, Brightness(), tmp_path / "b", instruments=[(second, asked)], **settings)
    assert [one.fingerprint for one in again.instruments()] == ["brightness", "dim"]
    assert sorted(asked.asked) == sorted(case.id for case in cases)
    assert again.rows() == first.rows()
    assert [(plain.path / name).read_bytes() for name in (bench.EDITS, bench.ROWS)] == before
    assert set(again.speeds) == {"edit", "measure", "scorer", "second"}


def test_seeds_depend_on_case_and_benchmark_alone():
    assert edit_seed("a", 0) == edit_seed("a", 0)
    assert len({edit_seed("a", 0), edit_seed("b", 0), edit_seed("a", 1)}) == 3
    assert 0 <= edit_seed("a", 0) < 2**63


def test_another_seed_or_case_is_refused(tiny_editor, cases, tmp_path):
    settings = {"seed": 0, "steps": STEPS, "label": "base"}
    run_bench(tiny_editor, cases[:1], None, tmp_path / "b", **settings)
    with pytest.raises(HPEditError, match="seed was 0, is now 1"):
        run_bench(tiny_editor, cases[:1], None, tmp_path / "b", **(settings | {"seed": 1}))
    with pytest.raises(HPEditError, match="cases has other content"):
        run_bench(tiny_editor, cases[:2], None, tmp_path / "b", **settings)


def test_no_or_repeated_cases_are_refused(tiny_editor, cases, tmp_path):
    with pytest.raises(HPEditError, match="no cases"):
        run_bench(tiny_editor, [], None, tmp_path / "b", steps=STEPS, label="base")
    with pytest.raises(HPEditError, match="case-0 appears twice"):
        run_bench(tiny_editor, [cases[0], cases[0]], None, tmp_path / "b", steps=STEPS, label="base")


class Killed(BaseException):
    """Stands for the moment of a kill: nothing of ours catches it."""


@pytest.mark.parametrize("function", ["write_edits", "append_jsonl"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_interrupted_at_every_write_it_continues_to_the_same_bytes(
    tiny_editor, cases, tmp_path, monkeypatch, function, side
):
    settings = {"seed": 0, "steps": STEPS, "label": "base", "batch": 2}
    whole = run_bench(tiny_editor, cases, Brightness(), tmp_path / "whole", **settings)
    writes = 4 if function == "write_edits" else 2 * len(cases)
    real, calls = getattr(bench, function), 0

    def failing(*args):
        nonlocal calls
        calls += 1
        if side == "after":
            real(*args)
            raise Killed
        if calls % 2:
            raise Killed
        real(*args)

    monkeypatch.setattr(bench, function, failing)
    scorer, kills = Brightness(), 0
    while True:
        try:
            folder = run_bench(tiny_editor, cases, scorer, tmp_path / "torn", **settings)
            break
        except Killed:
            kills += 1
    assert kills == writes, "every write was cut short once"
    assert contents(folder.path) == contents(whole.path)


CHILD = f"""
import sys
sys.path[:0] = [{str(ROOT / "src")!r}, {str(ROOT)!r}]
from tests.bench.test_benchmark_run import small_cases
from hpedit.bench.benchmark_run import run_bench
from hpedit.editors.load import wrap_pipeline
from hpedit.editors.sizes import ImageAreas
from hpedit.mini.architecture import build_pipeline
editor = wrap_pipeline(build_pipeline(0), ImageAreas(32, 1024, 1024), fingerprint="tiny")
run_bench(editor, small_cases(), None, sys.argv[1], steps=8, label="base", batch=1)
"""


def small_cases():
    return [Case(f"c{i}", "color", "make it red", (picture(seed=i),), f"p{i}") for i in range(12)]


@pytest.mark.slow
def test_sigkill_in_a_child_process_then_continue(tiny_editor, tmp_path):
    path, settings = tmp_path / "torn", {"steps": 8, "label": "base", "batch": 1}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while len(list((path / bench.PARTS).glob("0*.parquet"))) < 3:
            assert time.monotonic() < deadline, "the child made no progress"
            assert child.poll() is None, "the child ended before it could be killed"
            time.sleep(0.002)
    finally:
        child.kill()
        child.wait()
    with pytest.raises(HPEditError, match="not finished"):
        BenchFolder.open(path)
    torn = run_bench(tiny_editor, small_cases(), None, path, **settings)
    whole = run_bench(tiny_editor, small_cases(), None, tmp_path / "whole", **settings)
    assert contents(torn.path) == contents(whole.path)
    assert len(torn.rows()) == 12


def test_pictures_of_a_report_come_from_both_folders(tiny_editor, cases, tmp_path):
    base, post = (
        run_bench(tiny_editor, cases, Brightness(["wide"]), tmp_path / label, steps=STEPS, label=label)
        for label in ("base", "post")
    )
    pictures = {picture.case_id: picture for picture in collect_pictures(cases, base, post)}
    assert list(pictures) == [case.id for case in cases]
    assert pictures["case-0"].target is not None
    assert pictures["case-0"].oracle == pytest.approx((base.rows()[0].oracle,) * 2)
    assert pictures["wide"].oracle is None
    assert pictures["wide"].scorer is None
    assert pictures["case-3"].scorer is not None
