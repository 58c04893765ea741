"""The task of an instruction without one: the verb, then its object; and its language by script."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpedit.cases.instructions.languages import language_of
from hpedit.cases.sources.columns import cells_of, instruction_of_row
from hpedit.cases.sources.instruction_task import task_by_words
from hpedit.tasks import TASK_IDS

LINES = Path(__file__).with_name("instructions_by_task.txt").read_text("utf-8").splitlines()
ROWS = [line.split("|", 1) for line in LINES if line and not line.startswith("#")]


def accuracy(rows: list[list[str]]) -> float:
    """The share of instructions whose task is told as a person tells it."""
    return sum((task_by_words(text) or "none") == task for task, text in rows) / len(rows)


def test_the_list_has_every_task_and_no_instruction_twice() -> None:
    assert len({text for _, text in ROWS}) == len(ROWS) >= 200
    assert {task for task, _ in ROWS} == {*TASK_IDS, "none"}


def test_the_task_follows_from_verb_and_noun() -> None:
    assert accuracy(ROWS[::2]) >= 0.97, "the half that the rules were tuned on"
    assert accuracy(ROWS[1::2]) >= 0.95, "the half that was held out"


@pytest.mark.parametrize(
    ("instruction", "task"),
    [
        ("screw the bulb in", None),
        ("put a painting of a sunset on the wall", "addition"),
        ("get rid of the neon sign", "removal"),
        ("delete the background singer", "removal"),
        ("remove the oil painting", "removal"),
        ("insert a sketch of a cat in the frame", "addition"),
        ("In this picture, remove the lamp", "removal"),
    ],
)
def test_nouns_of_other_tasks_do_not_turn_the_verb(instruction: str, task: str | None) -> None:
    assert task_by_words(instruction) == task


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("把杯子移走", "zh"), ("カップを消して", "ja"), ("컵을 지워 줘", "ko"), ("убери чашку", "ru"),
        ("أزل الكوب", "ar"), ("הסר את הכוס", "he"), ("ลบถ้วยออก", "th"), ("remove the cup", "en"),
        ("删除 Nike 标志牌", "zh"),
    ],
)  # fmt: skip
def test_language_by_script(text: str, code: str) -> None:
    assert language_of(text) == code
    assert instruction_of_row(cells_of({"instruction": text, "task": "removal"})).language == code


def test_a_language_that_the_row_names_wins() -> None:
    row = {"instruction": "entferne die Tasse", "task": "removal", "lang": "de"}
    assert instruction_of_row(cells_of(row)).language == "de"
