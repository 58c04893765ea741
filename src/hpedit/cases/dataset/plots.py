"""Pictures of the distribution over tasks and categories, before and after.

plot = distribution_plot("Tasks", by_task(distributions))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from hpedit.cases.dataset.facts import Counts
from hpedit.cases.dataset.lettering import GREY, INK, MUTED, OCHRE, PAPER, RULE, TEAL, drawable, font, shorten, width
from hpedit.tasks import TASK_BY_ID

Rows = list[tuple[str, list[int]]]
"""A label, and its cases before and after: one number a distribution."""

MOST = 81
"""Rows of a plot: COCO's 80 categories and "none"; the rarest others are summed up."""
NONE = "none"
"""Label of cases without a category."""

# A plot is drawn for screens of two pixels a point, on which cards are mostly read.
BAR, ROW_GAP, MARGIN, HEAD, COLUMN_GAP = 16, 18, 40, 132, 40
FEW = 28
"""Rows up to which there is one column; more go to as many columns as it takes, at most three."""
LAYOUTS = ((330, 600, 90), (230, 480, 80), (210, 280, 75))
"""Width of the label, of the longest bar and of its figure, with one column, two, three."""


def by_task(distributions: Mapping[str, Counts]) -> Rows:
    """Rows of the tasks in their usual order, those alone that occur."""
    return [
        (task.name, row)
        for name, task in TASK_BY_ID.items()
        if any(row := [_count(counts, 0, name) for counts in distributions.values()])
    ]


def by_category(distributions: Mapping[str, Counts], most: int = MOST) -> Rows:
    """Rows of the categories, the most frequent at first on top; "none" comes last, before it the sum of the rarest."""
    names = sorted({category for counts in distributions.values() for _, category in counts if category})
    tables = [_table(counts) for counts in distributions.values()]
    rows = [(name, [table[name] for table in tables]) for name in names]
    rows.sort(key=lambda row: ([-count for count in row[1]], row[0]))
    room = most - 1
    if len(rows) > room:
        rest = rows[room - 1 :]
        sums = [sum(column) for column in zip(*(counts for _, counts in rest), strict=True)]
        rows = [*rows[: room - 1], (f"{len(rest)} more", sums)]
    without = [table[""] for table in tables]
    return [*rows, (NONE, without)] if any(without) else rows


def _count(counts: Counts, place: int, name: str) -> int:
    return sum(count for key, count in counts.items() if key[place] == name)


def _table(counts: Counts) -> Counter[str]:
    """Cases by category."""
    found: Counter[str] = Counter()
    for (_, category), count in counts.items():
        found[category] += count
    return found


def distribution_plot(title: str, rows: Rows, labels: Sequence[str]) -> Image.Image:
    """Bars of each row's share before and after, with the number of cases behind each bar.

    Args:
        title: What is counted.
        rows: At least one.
        labels: Names of the distributions, in the order of the numbers of a row; 1 to 3.
    """
    totals = [sum(counts[k] for _, counts in rows) for k in range(len(labels))]
    largest = max(_share(n, total) for _, counts in rows for n, total in zip(counts, totals, strict=True))
    columns = min(len(LAYOUTS), -(-len(rows) // FEW))
    beside, longest, figure = LAYOUTS[columns - 1]
    lines = -(-len(rows) // columns)
    step = len(labels) * BAR + ROW_GAP
    wide = beside + longest + figure
    size = (2 * MARGIN + columns * wide + (columns - 1) * COLUMN_GAP, HEAD + lines * step + MARGIN)
    image = Image.new("RGB", size, PAPER)
    draw, colours = ImageDraw.Draw(image), _colours(len(labels))
    _head(draw, title, labels, totals, colours)
    for number, (name, counts) in enumerate(rows):
        column, line = divmod(number, lines)
        left, top = MARGIN + column * (wide + COLUMN_GAP), HEAD + line * step
        middle = top + len(labels) * BAR // 2
        draw.text((left + beside - 16, middle), shorten(drawable(name), 24, beside - 16), INK, font(24), "rm")
        for k, count in enumerate(counts):
            y, x = top + k * BAR, left + beside
            length = round(longest * _share(count, totals[k]) / largest) if largest else 0
            if length or count:
                draw.rectangle((x, y + 1, x + max(length, 2), y + BAR - 2), colours[k])
            draw.text((x + max(length, 2) + 8, y + BAR // 2), f"{count:,}", MUTED, font(16), "lm")
        draw.line((left + beside, top - 4, left + beside, top + len(labels) * BAR + 3), RULE, 2)
    return image


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


def _colours(number: int) -> Sequence[str]:
    return {1: (TEAL,), 2: (GREY, TEAL), 3: (GREY, OCHRE, TEAL)}[number]


def _head(
    draw: ImageDraw.ImageDraw, title: str, labels: Sequence[str], totals: Sequence[int], colours: Sequence[str]
) -> None:
    """Title, what the bars are, and the legend."""
    draw.text((MARGIN, MARGIN + 24), title, INK, font(34), "ls")
    beside = MARGIN + width(title, 34) + 20
    draw.text((beside, MARGIN + 24), "bars: share of all cases, figures: cases", MUTED, font(22), "ls")
    x = float(MARGIN)
    for label, total, colour in zip(labels, totals, colours, strict=True):
        draw.rectangle((x, MARGIN + 50, x + 22, MARGIN + 66), colour)
        words = f"{label} ({total:,})"
        draw.text((x + 32, MARGIN + 66), words, INK, font(22), "ls")
        x += 32 + width(words, 22) + 36
