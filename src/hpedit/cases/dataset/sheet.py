"""A sheet of pictures: what the filter dropped and why, a row a case.

for name in choose(fates, tasks, limit): ...          # which cases to show
write_sheet(folder, rows, counts)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

from PIL import Image, ImageDraw

from hpedit.cases.dataset.lettering import (
    GREEN,
    INK,
    MUTED,
    PAPER,
    RED,
    RULE,
    TEAL,
    drawable,
    font,
    shorten,
    width,
    wrap,
)
from hpedit.cases.hardness import DROPPED, MEANING, Fate, Reason
from hpedit.store.atomic import atomic_write
from hpedit.store.images import png_bytes
from hpedit.tasks import TASK_BY_ID, TASK_IDS

CELLS = 48
"""Cases on one picture; more go to further pictures."""
SHOWN = 4
"""Edits of a case on the sheet, the first ones."""
THUMB, GAP, MARGIN, TEXT = 120, 8, 24, 250
"""Sides of a thumbnail, space between things, around all, and width of a case's words, in px."""
ROOM = 1400
"""Width that columns of cases share, in px."""
HEIGHT = THUMB + 22
"""Of a case: thumbnail and the score below it."""
HEADING = 44
COLOURS = {"solved": GREEN, "impossible": RED, "unscorable": MUTED}


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


def write_sheet(folder: Path, rows: Iterable[SheetRow], counts: Mapping[Reason, int]) -> list[str]:
    """Write the sheet as PNG files of at most `CELLS` cases; returns their names, none without a case.

    Args:
        folder: Where to; it is there.
        rows: In the order of `choose`; the pictures of `CELLS` rows are held at once.
        counts: Cases dropped by reason, for the headings.
    """
    rest = iter(rows)
    names: list[str] = []
    while page := [_Cell.of(row) for row in islice(rest, CELLS)]:
        name = f"dropped-{len(names) + 1:02d}.png"
        atomic_write(folder / name, png_bytes(_draw(page, counts)))
        names.append(name)
    return names


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """A case as it is drawn."""

    row: SheetRow
    pictures: tuple[Image.Image, ...]
    """Thumbnails of source and edits."""

    @classmethod
    def of(cls, row: SheetRow) -> _Cell:
        pictures = tuple(thumbnail(image) for image in (row.source, *row.edits[:SHOWN]))
        # The full pictures are let go.
        return cls(replace(row, source=pictures[0], edits=pictures[1:]), pictures)


def thumbnail(image: Image.Image) -> Image.Image:
    """The picture in a square of `THUMB` px, RGB; a small one is enlarged by whole pixels, as it is."""
    larger = THUMB // max(image.size)
    if larger >= 2:
        return image.resize((image.width * larger, image.height * larger), Image.Resampling.NEAREST)
    share = THUMB / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _draw(cells: Sequence[_Cell], counts: Mapping[Reason, int]) -> Image.Image:
    """One page."""
    most = max(len(cell.pictures) for cell in cells)
    wide = most * (THUMB + GAP) + TEXT
    columns = max(1, min(ROOM // wide, len(cells)))
    groups = [(reason, list(group)) for reason, group in groupby(cells, key=lambda cell: cell.row.fate.reason)]
    heights = [HEADING + -(-len(group) // columns) * (HEIGHT + GAP) + 2 * GAP for _, group in groups]
    page_width = 2 * MARGIN + columns * wide + (columns - 1) * MARGIN
    image = Image.new("RGB", (max(page_width, 560), 2 * MARGIN + sum(heights)), PAPER)
    draw, top = ImageDraw.Draw(image), MARGIN
    for (reason, group), height in zip(groups, heights, strict=True):
        _heading(draw, top, image.width, reason, counts[reason], len(group))
        for number, cell in enumerate(group):
            line, column = divmod(number, columns)
            corner = (MARGIN + column * (wide + MARGIN), top + HEADING + line * (HEIGHT + GAP))
            _draw_cell(image, draw, corner, cell, most)
        top += height
    return image


def _heading(draw: ImageDraw.ImageDraw, top: int, right: int, reason: Reason, count: int, shown: int) -> None:
    meaning = MEANING[reason].removeprefix("dropped: ")
    draw.rectangle((MARGIN, top + 2, MARGIN + 5, top + 24), COLOURS[reason])
    draw.text((MARGIN + 14, top + 21), reason.capitalize(), INK, font(20), "ls")
    left = MARGIN + 14 + width(reason.capitalize(), 20) + 12
    which = f"all {count:,}" if shown == count else f"{shown:,} of {count:,} on this sheet"
    draw.text((left, top + 21), f"{meaning}  ·  {which}", MUTED, font(14), "ls")
    draw.line((MARGIN, top + 33, right - MARGIN, top + 33), RULE, 1)


def _draw_cell(image: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: _Cell, most: int) -> None:
    """Source and edits in a row, each edit's score below it, and the words beside them."""
    (left, top), row = corner, cell.row
    below = ["source", *("no score" if score is None else f"{score:.2f}" for score in row.scores)]
    for number, picture in enumerate(cell.pictures):
        x = left + number * (THUMB + GAP)
        image.paste(picture, (x + (THUMB - picture.width) // 2, top + (THUMB - picture.height) // 2))
        draw.text((x + THUMB // 2, top + THUMB + 14), below[number], MUTED if number == 0 else INK, font(12), "ms")
    x, room = left + most * (THUMB + GAP) + GAP, TEXT - 3 * GAP
    draw.text((x, top + 14), TASK_BY_ID[row.task].name, TEAL, font(13), "ls")
    y = top + 34
    for words in wrap(row.instruction, 14, room, 3):
        draw.text((x, y), words, INK, font(14), "ls")
        y += 18
    draw.text((x, top + THUMB - 16), _figures(row), INK, font(13), "ls")
    draw.text((x, top + THUMB + 2), shorten(drawable(row.case_id), 11, room), MUTED, font(11), "ls")


def _figures(row: SheetRow) -> str:
    """Mean and deviation of the scores, and how many edits were not shown."""
    fate = row.fate
    words = "no score" if fate.mean is None else f"mean {fate.mean:.2f}"
    if fate.std is not None:
        words += f", deviation {fate.std:.2f}"
    return words + (f", {len(row.scores)} edits" if len(row.scores) > SHOWN else "")
