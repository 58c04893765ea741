"""The ablation: which cases are raw and hard, what the table says, and a run that is killed and continued."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpedit.errors import HPEditError
from hpedit.experiments.ablate import parse_seeds, run_ablation
from hpedit.experiments.ablate_cells import AblationSize, choose_raw_and_hard
from hpedit.experiments.ablate_table import (
    CELLS,
    CONTRASTS,
    FILES,
    PAPER,
    ablation_figures,
    ablation_rows,
    write_ablation_tables,
)
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.tasks import TASK_IDS

PROGRAM = """
import sys
from pathlib import Path
from hpedit.experiments.ablate import run_ablation
from hpedit.experiments.ablate_cells import AblationSize
size = AblationSize(rated_per_task=9, pool_per_task=4, edits_per_case=2, cases_per_task=2, bench_per_task=1,
                    iterations=2, groups=2, group_size=4)
if __name__ == "__main__":
    run_ablation(Path(sys.argv[1]), seeds=(0,), size=size)
"""


@pytest.fixture(scope="module")
def pool() -> list[Case]:
    return make_cases(embedded_tiles("train"), 4, 0, "train")


def spread(pool: list[Case], wide: Mapping[int, float]) -> dict[str, list[float | None]]:
    """Four scores of each case around 2.5: its number within the task says how far apart, 0.05 if not named."""
    return {
        case.id: [2.5 - wide.get(row // len(TASK_IDS), 0.05), 2.5 + wide.get(row // len(TASK_IDS), 0.05), None, 2.5]
        for row, case in enumerate(pool)
    }


def test_hard_are_those_that_differ_most_and_raw_the_first_of_each_task(pool: list[Case]) -> None:
    choice = choose_raw_and_hard(pool, spread(pool, {3: 1.0, 1: 0.5}), 2)
    assert choice["raw"] == [f"train-{task}-000{i}" for task in TASK_IDS for i in (0, 1)]
    assert choice["hard"] == [f"train-{task}-000{i}" for task in TASK_IDS for i in (3, 1)]
    assert choice["in_both"] == len(TASK_IDS)
    assert choice["described"]["hard"]["std"] > choice["described"]["raw"]["std"]


def test_raw_and_hard_are_equal_in_number_where_the_filter_leaves_few(pool: list[Case]) -> None:
    values: dict[str, list[float | None]] = spread(pool, {})
    for case in pool:
        if case.task == "style" and case.id != "train-style-0002":
            values[case.id] = [4.9, 4.9, 4.9, 4.9]
        if case.task == "swap":
            values[case.id] = [None, None, None, 3.0]
    choice = choose_raw_and_hard(pool, values, 3)
    tasks = {case.id: case.task for case in pool}
    for task in TASK_IDS:
        wanted = {"style": 1, "swap": 0}.get(task, 3)
        assert [sum(tasks[name] == task for name in choice[kind]) for kind in ("raw", "hard")] == [wanted, wanted]
    assert choice["drop_solved"]["style"]["solved"] == 3


def test_a_pool_without_anything_to_learn_is_refused(pool: list[Case]) -> None:
    with pytest.raises(HPEditError, match="no candidate is informative"):
        choose_raw_and_hard(pool, {case.id: [0.0, 0.0] for case in pool}, 2)


@pytest.mark.parametrize("text", ["", "0,", "a", "1.5", "-1"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(HPEditError, match="not a list of seeds"):
        parse_seeds(text)


def test_seeds(tmp_path: Path) -> None:
    assert parse_seeds("0, 2,1") == (0, 2, 1)
    with pytest.raises(HPEditError, match="distinct seeds"):
        run_ablation(tmp_path / "a", seeds=(1, 1))


CASES = 20
"""Two of each photograph: enough photographs for a verdict."""


def write_run(out: Path, oracle: Mapping[str, float]) -> None:
    """What a finished run of two seeds leaves, as far as the table reads it: all scores of a cell near one value."""
    for seed in (0, 1):
        pool = out / f"seed-{seed}" / "pool"
        pool.mkdir(parents=True)
        described = {"raw": {"mean": 1.0, "std": 0.2}}
        rest = {"informative": {}, "drop_solved": {}, "described": described, "in_both": 0, "pool": 9}
        (pool / "choice.json").write_text(json.dumps({"raw": ["a"], "hard": ["b"], **rest}))
        for cell, value in oracle.items():
            write_bench(out / f"seed-{seed}" / cell, value + 0.1 * seed)


def write_bench(folder: Path, value: float) -> None:
    (folder / "bench").mkdir(parents=True)
    (folder / "bench" / "recipe.json").write_text(
        json.dumps({"stage": "bench", "recipe": {"label": "x"}, "inputs": {}})
    )
    (folder / "bench" / "result.json").write_text(json.dumps({"n": CASES}))
    rows = [
        {
            "case_id": f"c{number}", "edit_id": f"e{number}", "task": "style", "source_id": f"s{number // 2}",
            "seed": 0, "oracle": value + 0.2 * (number % 4), "score": None if number == 3 else 2.0,
        }
        for number in range(CASES)
    ]  # fmt: skip
    (folder / "bench" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "plain.json").write_text(json.dumps({f"c{number}": 3.0 for number in range(CASES)}))


def test_the_table_says_what_was_measured(tmp_path: Path) -> None:
    write_run(tmp_path, {"base": 2.0, "raw+plain": 1.5, "hard+plain": 2.2, "raw+calibrated": 2.4, "hard+calibrated": 3})
    figures = ablation_figures(tmp_path, (0, 1))
    assert figures["n"] == 2 * CASES
    cells = figures["cells"]
    assert cells["hard+calibrated"]["oracle"]["gain"]["mean"] == pytest.approx(1.0)
    assert cells["raw+plain"]["seed_gains"] == {"0": pytest.approx(-0.5), "1": pytest.approx(-0.5)}
    assert cells["base"]["oracle"]["mean"] == pytest.approx(2.35)
    assert cells["base"]["calibrated"]["mean"] == 2.0
    assert figures["paper"]["oracle"]["as_in_paper"]
    assert figures["paper"]["oracle"]["clear"]
    assert not figures["paper"]["plain"]["clear"]
    exchanged = figures["contrasts"]["calibrated for plain, hard cases"]["oracle"]
    assert exchanged["mean"] == pytest.approx(0.8)
    write_ablation_tables(tmp_path, figures)
    assert [row[0] for row in ablation_rows(figures)] == ["base", *CELLS]
    table = list(csv.reader((tmp_path / "ablate.csv").open()))
    assert table[5][0] == "hard+calibrated"
    assert table[5][2].startswith("+1.00")
    markdown, latex = (tmp_path / "ablate.md").read_text(), (tmp_path / "ablate.tex").read_text()
    assert all(f"| {words} |" in markdown for words in CONTRASTS)
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert json.loads((tmp_path / "ablate.json").read_text()) == figures


def test_another_order_than_the_papers_is_not_called_the_papers(tmp_path: Path) -> None:
    write_run(tmp_path, {"base": 2.0, "raw+plain": 2.1, "hard+plain": 2.2, "raw+calibrated": 2.4, "hard+calibrated": 3})
    order = ablation_figures(tmp_path, (0, 1))["paper"]["oracle"]
    assert not order["as_in_paper"]
    assert order["order"][:2] == ["base", "raw+plain"]
    assert not order["steps"]["raw+plain < base"]["clear"]
    assert list(PAPER) == ["raw+plain", "base", "hard+plain", "hard+calibrated"]


def start(out: Path) -> subprocess.Popen[str]:
    program = out.parent / "run_ablation.py"
    program.write_text(PROGRAM)
    return subprocess.Popen([sys.executable, str(program), str(out)], stderr=subprocess.PIPE, text=True)


def finish(out: Path) -> None:
    process = start(out)
    _, stderr = process.communicate(timeout=1800)
    assert process.returncode == 0, stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation") / "run"
    finish(out)
    return out


@pytest.mark.slow
def test_every_cell_is_trained_and_measured(undisturbed: Path) -> None:
    figures: dict[str, Any] = json.loads((undisturbed / "ablate.json").read_text())
    assert set(figures["cells"]) == {"base", *CELLS}
    assert all((undisturbed / name).stat().st_size for name in FILES)
    loras = {cell: (undisturbed / "seed-0" / cell / "train" / "lora").glob("*.safetensors") for cell in CELLS}
    assert len({next(files).read_bytes() for files in loras.values()}) == len(CELLS)


def children(parent: int) -> list[int]:
    """Process ids whose parent is `parent`."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


@pytest.mark.slow
def test_a_killed_run_ends_its_processes_and_continues_to_the_same_table(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(undisturbed, out, ignore=shutil.ignore_patterns("*+*", "ablate.*", ".lock"))
    process = start(out)
    metrics = out / "seed-0" / "raw+plain" / "train" / "metrics.jsonl"
    try:
        until = time.monotonic() + 600
        while not metrics.exists():
            assert time.monotonic() < until, "the run made no progress"
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.1)
        started = children(process.pid)
    finally:
        process.kill()
        process.communicate(timeout=300)
    assert len(started) >= 2
    until = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists() and not _is_zombie(pid)]
    finish(out)
    assert (out / "ablate.json").read_bytes() == (undisturbed / "ablate.json").read_bytes()


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_what_a_cell_can_not_do_is_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    size = AblationSize(rated_per_task=1)
    with pytest.raises(HPEditError, match=r"scorer of seed 0: .*has no picture that can be read"):
        run_ablation(tmp_path / "run", seeds=(0,), world=World(photos), size=size)
    assert os.listdir(photos) == []
