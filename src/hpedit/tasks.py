"""The eight editing tasks of HP-Edit (arXiv 2604.19406): what an edit must change and what it must keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """An editing task. `must_change` and `must_stay` go into the judge's prompt."""

    id: str
    """Short name in files and tables."""
    name: str
    definition: str
    """What the instruction asks for."""
    must_change: str
    must_stay: str


TASKS: tuple[Task, ...] = (
    Task(
        "addition",
        "Object addition",
        "A named object is added at a named place.",
        "the named object appears complete at the named place",
        "everything else stays the same",
    ),
    Task(
        "removal",
        "Object removal",
        "A named object is removed and the background behind it is filled in.",
        "the named object is entirely gone and the hole is filled",
        "everything else stays the same",
    ),
    Task(
        "swap",
        "Object swap",
        "A named object is replaced by another one at the same place.",
        "the new object stands where the old one was",
        "everything else stays the same",
    ),
    Task(
        "background",
        "Background replacement",
        "The background is replaced by a named one; the objects stay.",
        "the whole background is the named one",
        "all objects stay the same",
    ),
    Task(
        "color",
        "Colour change",
        "A named object gets another colour.",
        "the named object has the named color",
        "its shape and everything else stay the same",
    ),
    Task(
        "bokeh",
        "Bokeh",
        "The background is blurred as by a wide aperture; the objects stay sharp.",
        "the whole background is softly blurred",
        "all objects stay sharp and the same",
    ),
    Task(
        "relighting",
        "Relighting",
        "The light of the whole picture changes as named.",
        "the whole picture has the named light",
        "shapes and details stay the same",
    ),
    Task(
        "style",
        "Style transfer",
        "The whole picture is rendered in a named style.",
        "the whole picture has the named style",
        "shapes and details stay the same",
    ),
)

TASK_IDS: tuple[str, ...] = tuple(task.id for task in TASKS)
TASK_BY_ID: dict[str, Task] = {task.id: task for task in TASKS}


def ordered_tasks(found: Iterable[str]) -> list[str]:
    """Distinct task ids for a table: the eight tasks in their order, then any others by name."""
    names = set(found)
    return [task for task in TASK_IDS if task in names] + sorted(names - set(TASK_IDS))
