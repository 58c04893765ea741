"""A sheet of pictures: what the filter dropped and why, a row a case.

for name in choose(fates, tasks, limit): ...          # which cases to show
write_sheet(path, rows)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from hpedit.cases.hardness import DROPPED, Fate
from hpedit.tasks import TASK_IDS


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One dropped case."""

    case_id: str
    task: str
    instruction: str
    source: Image.Image
    edits: Sequence[Image.Image]
    scores: Sequence[float | None]
    """Of the edits."""
    fate: Fate


def choose(fates: Mapping[str, Fate], tasks: Mapping[str, str], limit: int) -> list[str]:
    """Which dropped cases to show: at most `limit`, every reason and task in turn, then drawn by a hash of the id.

    Args:
        fates: By case id.
        tasks: The task of each of these cases, by case id.
        limit: Cases on the sheet.

    Returns:
        Case ids in the order of the sheet: by reason, task and draw.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name, fate in fates.items():
        if not fate.kept:
            cells.setdefault((fate.reason, tasks[name]), []).append(name)
    for names in cells.values():
        names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    ordered = [cells[reason, task] for reason in DROPPED for task in TASK_IDS if (reason, task) in cells]
    taken = [0] * len(ordered)
    left = min(limit, sum(map(len, ordered)))
    while left:
        for number, names in enumerate(ordered):
            if left and taken[number] < len(names):
                taken[number] += 1
                left -= 1
    return [name for names, count in zip(ordered, taken, strict=True) for name in names[:count]]
