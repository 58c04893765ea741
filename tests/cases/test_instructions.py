"""Cases from tables of instructions: columns, tasks, what is skipped and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.shared_data import shared_data

from hpedit.cases.instructions import read_instructions, task_of
from hpedit.errors import HPEditError
from hpedit.tasks import TASK_IDS


@pytest.mark.parametrize(
    ("instruction", "task"),
    [
        ("add a dog next to the bench", "addition"),
        ("Remove the cup", "removal"),
        ("replace the cat with a dog", "swap"),
        ("change the background to a beach", "background"),
        ("paint the door green", "color"),
        ("add bokeh behind the woman", "bokeh"),
        ("relight the scene as at dusk", "relighting"),
        ("make it a pencil sketch", "style"),
        ("zoom", None),
    ],
)
def test_the_task_follows_from_the_words(instruction: str, task: str | None) -> None:
    assert task_of("", instruction) == task


def test_a_named_task_wins_over_the_words() -> None:
    assert task_of("Color Changes", "add some red to the door") == "color"
    assert task_of("Attribute Changes", "remove the cup") is None


def _picture(folder: Path, name: str) -> None:
    Image.new("RGB", (40, 30), "green").save(folder / name)


def test_csv_with_what_is_skipped(tmp_path: Path) -> None:
    _picture(tmp_path, "a.png")
    (tmp_path / "broken.png").write_bytes(b"<html>no picture</html>")
    rows = [
        "id,image,instruction,task",
        "1,a.png,remove the cup,removal",
        "2,missing.png,remove the cup,removal",
        "3,broken.png,remove the cup,removal",
        "4,a.png,,removal",
        "5,a.png,do something,",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    given = read_instructions(tmp_path)
    assert [case.id for case in given.cases] == ["1"]
    assert [row["id"] for row in given.skipped] == ["2", "3", "4", "5"]
    assert all(row["reason"] for row in given.skipped)


def test_jsonl_with_prompt_and_bom(tmp_path: Path) -> None:
    _picture(tmp_path, "a.png")
    line = json.dumps({"prompt": "make it sepia", "image": "a.png"})
    (tmp_path / "t.jsonl").write_text("\ufeff" + line + "\n\n", encoding="utf-8")
    (case,) = read_instructions(tmp_path / "t.jsonl").cases
    assert case.task == "style"
    assert case.instruction == "make it sepia"


def test_missing_columns_and_empty_tables_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,words\na.png,x\n")
    with pytest.raises(HPEditError, match="no column 'instruction'"):
        read_instructions(tmp_path / "t.csv")
    (tmp_path / "e.csv").write_text("image,instruction\n")
    with pytest.raises(HPEditError, match="gives no case"):
        read_instructions(tmp_path / "e.csv")
    with pytest.raises(HPEditError, match="does not exist"):
        read_instructions(tmp_path / "no.csv")


def test_all_of_magicbrush_is_read() -> None:
    given = read_instructions(shared_data("magicbrush", "edits.csv"))
    assert len(given.cases) + len(given.skipped) == 315
    assert len(given.edits) == len(given.cases) > 200
    assert {case.task for case in given.cases} == {"addition", "removal", "swap", "color", "background"}
    assert {case.task for case in given.cases} < set(TASK_IDS)
    assert all("none of the eight" in row["reason"] for row in given.skipped)
    assert len({case.source_id for case in given.cases}) < len(given.cases)
