"""Draw the contact sheet of a dataset: dropped cases with their edits, scores and the filter's reason.

for name in choose_sheet_cases(decisions, tasks, limit): ...          # which cases to show
write_sheet(folder, rows, counts)

The font is Pillow's own, so that every machine draws the same picture; it has little more than ASCII.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from hpedit.cases.hardness import DROPPED, MEANING, FilterDecision, Reason
from hpedit.seeds import hash_64
from hpedit.store.atomic import atomic_write
from hpedit.store.images import png_bytes
from hpedit.tasks import TASK_BY_ID, TASK_IDS

INK, MUTED, RULE, PAPER = "#1c2127", "#626c78", "#e3e0da", "#ffffff"
GREY, TEAL, OCHRE, RED, GREEN = "#b4bcc6", "#0d6b80", "#d9a94e", "#b2402c", "#26754a"
"""As the report's style sheet has them."""

PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
"""Typographic signs as the font has them."""
LONGEST = 1000
"""Letters of a text that are read: more than any paragraph here has room for."""
UNDRAWABLE = "(in a script that this sheet cannot draw)"

CELLS = 48
"""Cases on one page; more go to further pages."""
SHOWN = 4
"""Edits of a case that are shown, the first ones."""
THUMB, GAP, MARGIN, TEXT = 120, 8, 24, 250
"""Side of a thumbnail, gap, outer margin, and width of a case's text, in px."""
ROOM = 1400
"""Width of all columns together, in px."""
HEIGHT = THUMB + 22
"""Of a case: thumbnail and the score below it."""
HEADING = 44
COLOURS = {"solved": GREEN, "impossible": RED, "unscorable": MUTED}


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One dropped case on the contact sheet."""

    case_id: str
    task: str
    instruction: str
    source: Image.Image
    edits: Sequence[Image.Image]
    scores: Sequence[float | None]
    """Of the edits; None = no score."""
    decision: FilterDecision


def choose_sheet_cases(decisions: Mapping[str, FilterDecision], tasks: Mapping[str, str], limit: int) -> list[str]:
    """Choose at most `limit` dropped cases for the contact sheet, evenly over reasons and tasks, by a hash of the id.

    Args:
        decisions: By case id.
        tasks: By case id.
        limit: Cases on the sheet.

    Returns:
        Case ids in the order of the sheet: by reason, task and hash.
    """
    cells: dict[tuple[str, str], list[str]] = {}
    for name, decision in decisions.items():
        if not decision.kept:
            cells.setdefault((decision.reason, tasks[name]), []).append(name)
    for names in cells.values():
        names.sort(key=hash_64)
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
    """Write the contact sheet as PNG files of at most `CELLS` cases; returns their names, none if there is no case.

    Args:
        folder: Must exist.
        rows: In the order of `choose_sheet_cases`; the pictures of `CELLS` rows are held at once.
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
    """A case with its thumbnails."""

    row: SheetRow
    pictures: tuple[Image.Image, ...]
    """Thumbnails of source and edits."""

    @classmethod
    def of(cls, row: SheetRow) -> _Cell:
        pictures = tuple(make_thumbnail(image) for image in (row.source, *row.edits[:SHOWN]))
        # The full pictures are dropped: a page holds thumbnails alone.
        return cls(replace(row, source=pictures[0], edits=pictures[1:]), pictures)


def make_thumbnail(image: Image.Image) -> Image.Image:
    """Fit a picture into `THUMB` x `THUMB` px; a small one is enlarged by a whole factor: its pixels stay visible."""
    larger = THUMB // max(image.size)
    if larger >= 2:
        return image.resize((image.width * larger, image.height * larger), Image.Resampling.NEAREST)
    share = THUMB / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _draw(cells: Sequence[_Cell], counts: Mapping[Reason, int]) -> Image.Image:
    """Draw one page of the contact sheet."""
    most = max(len(cell.pictures) for cell in cells)
    wide = most * (THUMB + GAP) + TEXT
    columns = max(1, min(ROOM // wide, len(cells)))
    groups = [(reason, list(group)) for reason, group in groupby(cells, key=lambda cell: cell.row.decision.reason)]
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
    left = MARGIN + 14 + text_width(reason.capitalize(), 20) + 12
    which = f"all {count:,}" if shown == count else f"{shown:,} of {count:,} on this sheet"
    draw.text((left, top + 21), f"{meaning}  ·  {which}", MUTED, font(14), "ls")
    draw.line((MARGIN, top + 33, right - MARGIN, top + 33), RULE, 1)


def _draw_cell(image: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: _Cell, most: int) -> None:
    """Source and edits in a row, each edit's score below it, text beside them."""
    (left, top), row = corner, cell.row
    below = ["source", *("no score" if score is None else f"{score:.2f}" for score in row.scores)]
    for number, picture in enumerate(cell.pictures):
        x = left + number * (THUMB + GAP)
        image.paste(picture, (x + (THUMB - picture.width) // 2, top + (THUMB - picture.height) // 2))
        draw.text((x + THUMB // 2, top + THUMB + 14), below[number], MUTED if number == 0 else INK, font(12), "ms")
    x, room = left + most * (THUMB + GAP) + GAP, TEXT - 3 * GAP
    draw.text((x, top + 14), TASK_BY_ID[row.task].name, TEAL, font(13), "ls")
    y = top + 34
    for words in wrap_text(row.instruction, 14, room, 3):
        draw.text((x, y), words, INK, font(14), "ls")
        y += 18
    draw.text((x, top + THUMB - 16), _figures(row), INK, font(13), "ls")
    draw.text((x, top + THUMB + 2), shorten_text(drawable_text(row.case_id), 11, room), MUTED, font(11), "ls")


def _figures(row: SheetRow) -> str:
    """Mean and deviation of the scores, and the number of edits if not all are shown."""
    decision = row.decision
    words = "no score" if decision.mean is None else f"mean {decision.mean:.2f}"
    if decision.std is not None:
        words += f", deviation {decision.std:.2f}"
    return words + (f", {len(row.scores)} edits" if len(row.scores) > SHOWN else "")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's built-in font, `size` in px."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return found


def text_width(words: str, size: int) -> float:
    """Width of a line of text in px."""
    return font(size).getlength(words)


@cache
def _is_drawable(letter: str) -> bool:
    """Whether the font has a letter: it draws the same box for all that it lacks, as for the last code point."""
    return letter.isspace() or bytes(font(24).getmask(letter)) != bytes(font(24).getmask("\U0010ffff"))


def drawable_text(words: str) -> str:
    """Replace letters that the font lacks by "?", accents by plain letters; a note if most letters are missing."""
    parts = unicodedata.normalize("NFKD", words.translate(PLAIN))
    words = "".join(letter for letter in parts if not unicodedata.combining(letter))
    good = [letter for letter in words if _is_drawable(letter)]
    if 2 * len(good) < len(words):
        return UNDRAWABLE
    return "".join(letter if _is_drawable(letter) else "?" for letter in words)


def wrap_text(words: str, size: int, room: float, lines: int) -> list[str]:
    """Wrap text into at most `lines` lines of `room` px; what does not fit ends in an ellipsis."""
    found: list[str] = []
    line = ""
    for word in drawable_text(" ".join(words[:LONGEST].split())).split(" "):
        longer = f"{line} {word}" if line else word
        if line and text_width(longer, size) > room:
            found.append(line)
            longer = word
        line = longer
        if len(found) == lines:
            break
    if len(found) < lines:
        return [shorten_text(one, size, room) for one in (*found, line)]
    return [
        *(shorten_text(one, size, room) for one in found[:-1]),
        shorten_text(f"{found[-1]} {line}", size, room, more=True),
    ]


def shorten_text(words: str, size: int, room: float, *, more: bool = False) -> str:
    """Cut one line to `room` px, with an ellipsis if it is too long or `more` text follows."""
    words = words[:LONGEST]
    if not more and text_width(words, size) <= room:
        return words
    fits = bisect_right(range(len(words)), room, key=lambda length: text_width(f"{words[:length]}...", size))
    return f"{words[: max(0, fits - 1)].rstrip()}..."
