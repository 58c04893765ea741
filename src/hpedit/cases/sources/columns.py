"""What the columns of published tables are called, and what rows say of a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hpedit.cases.photos import Draft
from hpedit.errors import HPEditError
from hpedit.store.text_checks import refusal
from hpedit.tasks import TASK_IDS, TASKS

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id", "case_id", "edit_id"),
    "image": ("image", "source", "source_file", "file_name", "ctrl_image"),
    "reference": ("ref_image",),
    "instruction": ("instruction", "prompt"),
    "task": ("task", "task_type", "edit_type", "category"),
    "source_id": ("source_id", "photo_id"),
    "object": ("object", "object_type"),
    "label": ("label", "labels", "category"),
    "requirement": ("requirement",),
    "language": ("language", "lang"),
    "licence": ("licence", "license"),
    "origin": ("origin", "url", "source_url"),
}
"""What a column may be called, the first that is there and not empty counts.

MagicBrush's names are among them, Edit-R1's (prompt, image, requirement), flow_grpo's (prompt, image; ctrl_image and
ref_image of its two-picture sets) and img2dataset's (url).
"""

SYNONYMS = {
    "object replacement": "swap",
    "color changes": "color",
    "color change": "color",
    "scene changes": "background",
    "background change": "background",
    "add": "addition",
    "remove": "removal",
    "replace": "swap",
    "subject add": "addition",
    "subject remove": "removal",
    "subject replace": "swap",
    "color alter": "color",
    "style change": "style",
    "tone transfer": "relighting",
} | {task.name.lower().replace("colour", "color"): task.id for task in TASKS}
"""Names that published sets have for the eight tasks (MagicBrush, ImgEdit, GEdit-Bench), and our own titles.

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


def task_of(named: str, instruction: str) -> str | None:
    """The task of an instruction: as named, or else by its words; None when it belongs to none of the eight."""
    name = re.sub(r"[\s_-]+", " ", named.strip().lower()).replace("colour", "color")
    if name:
        return name if name in TASK_IDS else SYNONYMS.get(name)
    for pattern, task in WORDS:
        if re.search(pattern, instruction.lower()):
            return task
    return None


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What a row says, by the names of COLUMNS: text without blanks around it; what is empty is left out.

    "category" names the task of a row with an instruction and no other task, else it is a label. HPEditError for a
    cell that holds a list or an object where a text is expected.
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
            raise HPEditError(f"{name} holds half a character (a lone surrogate)")
        return value.strip()
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list) and name in COLUMNS["label"]:
        return ";".join(str(item).strip() for item in value)
    if name in COLUMNS["image"] or isinstance(value, bytes):
        return ""  # a picture itself, not its name
    raise HPEditError(f"{name} holds {type(value).__name__}, not text")


def labels_of(cells: Mapping[str, str]) -> tuple[str, ...]:
    """Categories of a picture, the main one first; several are parted by semicolons. A bare number names nothing."""
    parts = (part.strip() for part in cells.get("label", "").split(";"))
    return tuple(part for part in parts if part and not part.isdigit())


def draft_of(cells: Mapping[str, str]) -> Draft:
    """The instruction of a row; HPEditError, as a reason to skip the row, where it has none that can be used."""
    instruction = cells.get("instruction", "")
    if reason := refusal(instruction):
        raise HPEditError(reason)
    task = task_of(cells.get("task", ""), instruction)
    if task is None:
        raise HPEditError(f"belongs to none of the eight tasks: {cells.get('task') or instruction!r}")
    return Draft(
        task,
        instruction,
        category=cells.get("object", ""),
        id=cells.get("id", ""),
        language=cells.get("language", "en"),
        requirement=cells.get("requirement", ""),
    )


def missing_columns(names: Iterable[str]) -> list[str]:
    """Which of picture and instruction a table with these columns lacks."""
    there = set(names)
    return [key for key in ("image", "instruction") if not there & set(COLUMNS[key])]
