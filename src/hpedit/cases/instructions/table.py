"""Cases from a user's own photographs and instructions, in a CSV or JSONL table."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.records import Case, Edit
from hpedit.store.images import load_image
from hpedit.tasks import TASK_IDS

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id", "case_id", "edit_id"),
    "image": ("image", "source", "source_file", "file_name"),
    "instruction": ("instruction", "prompt"),
    "task": ("task", "category"),
    "source_id": ("source_id", "photo_id"),
    "object": ("object", "object_type"),
    "edited": ("edited", "edited_file"),
}
"""What a column may be called; MagicBrush's and common names are among them."""

CATEGORIES = {
    "object addition": "addition",
    "object removal": "removal",
    "object replacement": "swap",
    "color changes": "color",
    "colour changes": "color",
    "scene changes": "background",
}
"""Names that published sets have for the eight tasks.

What belongs to none of them (MagicBrush's "Attribute Changes") is skipped.
"""

WORDS: tuple[tuple[str, str], ...] = (
    (r"\b(bokeh|out of focus|blur(red)? the background)\b", "bokeh"),
    (r"\bbackground\b", "background"),
    (r"\b(black and white|sepia|style|painting|cartoon|sketch)\b", "style"),
    (r"\b(light(ing)?|relight|dusk|sunset|night ?time|dawn|fog)\b", "relighting"),
    (r"\b(replace|swap|turn .* into|change .* (in)?to an? )\b", "swap"),
    (r"\b(remove|delete|erase|take away|get rid of)\b", "removal"),
    (r"\b(colou?r|paint|recolou?r)\b", "color"),
    (r"\b(add|put|place|insert|let there be)\b", "addition"),
)
"""Patterns of an instruction without a named task, first match first."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a table held: cases, edits that came with them, and rows that could not be used, with the reason."""

    cases: list[Case]
    edits: list[Edit]
    skipped: list[dict[str, str]]


def task_of(named: str, instruction: str) -> str | None:
    """The task of an instruction: as named, or else by its words; None when it belongs to none of the eight."""
    name = named.strip().lower()
    if name:
        return name if name in TASK_IDS else CATEGORIES.get(name)
    for pattern, task in WORDS:
        if re.search(pattern, instruction.lower()):
            return task
    return None


def read_instructions(table: Path) -> Given:
    """Read a table of instructions (CSV, or JSONL by its ending) whose pictures lie relative to it.

    A row that can't be used (no picture, no instruction, none of the eight tasks) is skipped and named with its reason.

    Raises:
        HPEditError: no such table, a column is missing, or no row could be used.
    """
    if table.is_dir():
        table = _table_in(table)
    given = Given([], [], [])
    names: dict[str, str] | None = None
    for number, row in _rows(table):
        names = names or _columns(row, table)
        values = {key: str(row.get(column) or "").strip() for key, column in names.items()}
        _take(values, number, table.parent, given)
    if not given.cases:
        why = given.skipped[0]["reason"] if given.skipped else "it is empty"
        raise HPEditError(
            f"{table} gives no case: {why}",
            hint="each row needs a picture and an instruction of one of the eight tasks",
        )
    return given


def _table_in(folder: Path) -> Path:
    """The table that a folder of a published set has under one of its usual names."""
    for name in ("edits.csv", "cases.csv", "metadata.csv", "metadata.jsonl", "cases.jsonl"):
        if (folder / name).is_file():
            return folder / name
    raise HPEditError(
        f"{folder} has no table of instructions", hint="name a CSV or JSONL with the columns image and instruction"
    )


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their line numbers; a byte order mark is dropped, an empty line of a JSONL is none."""
    if not table.is_file():
        raise HPEditError(f"{table} does not exist")
    with table.open(encoding="utf-8-sig", newline="") as stream:
        if table.suffix.lower() not in (".jsonl", ".ndjson"):
            yield from enumerate(csv.DictReader(stream), start=2)
            return
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise HPEditError(f"{table}:{number}: not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise HPEditError(f"{table}:{number}: not an object")
            yield number, row


def _columns(row: Mapping[str, Any], table: Path) -> dict[str, str]:
    """Our name of each column that the table has -> the table's own; HPEditError without picture or instruction."""
    found = {key: name for key, names in COLUMNS.items() for name in reversed(names) if name in row}
    for key in ("image", "instruction"):
        if key not in found:
            raise HPEditError(f"{table} has no column {key!r}", hint=f"it may be called {', '.join(COLUMNS[key])}")
    return found


def _take(values: Mapping[str, str], number: int, folder: Path, given: Given) -> None:
    """Add row `number` to `given`: as a case (with its edit, if it has one), or among the skipped with the reason."""
    name = values.get("id") or f"row-{number}"

    def skip(reason: str) -> None:
        given.skipped.append({"row": str(number), "id": name, "reason": reason})

    instruction, task = values["instruction"], task_of(values.get("task", ""), values["instruction"])
    if not instruction:
        return skip("no instruction")
    if task is None:
        return skip(f"belongs to none of the eight tasks: {values.get('task') or instruction!r}")
    try:
        source = load_image(folder / values["image"])
        edited = load_image(folder / values["edited"]) if values.get("edited") else None
    except HPEditError as error:
        return skip(error.message)
    source_id = values.get("source_id") or values["image"]
    case = Case(
        name, task, instruction, (source,), source_id, values.get("object", ""), values["image"], "the user's own"
    )
    given.cases.append(case)
    if edited is not None:
        given.edits.append(Edit(f"given:{name}", name, "given with the case", 0, edited))
    return None
