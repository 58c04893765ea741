"""Column names of published tables, and how rows map to tasks, labels and instructions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hpedit.cases.instructions.languages import language_of
from hpedit.cases.source_items import InstructionCandidate, Skipped
from hpedit.cases.sources.instruction_task import task_by_words
from hpedit.errors import HPEditError
from hpedit.store.text_checks import refusal
from hpedit.tasks import TASK_IDS, TASKS

_DATA = yaml.safe_load(Path(__file__).with_name("columns.yaml").read_text("utf-8"))
COLUMNS: dict[str, list[str]] = _DATA["columns"]
LAYOUTS: dict[str, dict[str, Any]] = _DATA["layouts"]
SYNONYMS: dict[str, str] = _DATA["synonyms"] | {task.name.lower().replace("colour", "color"): task.id for task in TASKS}


def plain_name(name: str) -> str:
    """A task's name in lower case with single blanks."""
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def task_of(named: str, instruction: str) -> str | None:
    """The task of an instruction: as named, else by its words; None if it is none of the eight."""
    name = plain_name(named).replace("colour", "color")
    if name:
        return name if name in TASK_IDS else SYNONYMS.get(name)
    return task_by_words(instruction)


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Normalise a row to the keys of COLUMNS, stripped, without empty cells; HPEditError for a cell that is not text.

    "category" is the task of a row with an instruction and no other task, else a label.
    """
    cells: dict[str, str] = {}
    for key, names in COLUMNS.items():
        for name in names:
            if text := _text(row.get(name), name):
                cells[key] = text
                break
    category = _text(row.get("category"), "category")
    if category:
        if "instruction" not in cells and cells.get("task") == category:
            del cells["task"]
        elif cells.get("task") == cells.get("label") == category:
            del cells["label"]
    return cells


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise HPEditError(f"{name} contains a lone surrogate")
        return value.strip()
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list) and name in COLUMNS["label"]:
        return ";".join(str(item).strip() for item in value)
    if name in COLUMNS["image"] or isinstance(value, bytes):
        return ""  # the picture itself, not its name
    raise HPEditError(f"{name} is {type(value).__name__}, not text")


def category_labels(cells: Mapping[str, str]) -> tuple[str, ...]:
    """Category labels of a picture, the main one first, split at semicolons; bare numbers are ignored."""
    parts = (part.strip() for part in cells.get("label", "").split(";"))
    return tuple(part for part in parts if part and not part.isdigit())


def instruction_of_row(cells: Mapping[str, str]) -> InstructionCandidate:
    """The instruction candidate of a row; HPEditError, as a reason to skip the row, if it has no usable one."""
    instruction = cells.get("instruction", "")
    if reason := refusal(instruction):
        raise HPEditError(reason)
    task = task_of(cells.get("task", ""), instruction)
    if task is None:
        raise HPEditError(f"none of the eight tasks: {cells.get('task') or instruction!r}")
    language, requirement = cells.get("language") or language_of(instruction), cells.get("requirement", "")
    return InstructionCandidate(
        task, instruction, cells.get("object", ""), cells.get("id", ""), language=language, requirement=requirement
    )


def missing_columns(names: Iterable[str]) -> list[str]:
    """Which of image and instruction a table with these columns lacks."""
    there = set(names)
    return [key for key in ("image", "instruction") if not there & set(COLUMNS[key])]


def row_instructions(
    cells: Mapping[str, str], photo_id: str
) -> tuple[tuple[InstructionCandidate, ...], tuple[Skipped, ...]]:
    """The instruction of a photograph's row, if it has one; an unusable one is reported, and the photograph stays."""
    if "instruction" not in cells:
        return (), ()
    try:
        return (instruction_of_row(cells),), ()
    except HPEditError as error:
        return (), (Skipped(f"{photo_id}#instruction", error.message),)
