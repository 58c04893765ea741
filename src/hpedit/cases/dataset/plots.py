"""Bar charts for a dataset card: cases by task and by category, before and after balance and filter.

png = distribution_plot("Tasks", by_task(distributions), list(distributions))

They need matplotlib (`hp-edit[plots]`); without it a card has no charts.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence

from hpedit.cases.dataset.facts import Counts
from hpedit.cases.dataset.sheet import GREY, INK, MUTED, OCHRE, RULE, TEAL, drawable_text
from hpedit.tasks import TASK_BY_ID

Rows = list[tuple[str, list[int]]]
"""A label, and its cases before and after: one number a distribution."""

MAX_ROWS = 81
"""Rows of a chart: COCO's 80 categories and "none"; the rarest others are summed up."""
NONE = "none"
"""Label of cases without a category."""
ROWS_A_COLUMN, MAX_COLUMNS = 28, 3
COLOURS = {1: (TEAL,), 2: (GREY, TEAL), 3: (GREY, OCHRE, TEAL)}
MAX_LABEL = 28
"""Characters of a row's label."""


def by_task(distributions: Mapping[str, Counts]) -> Rows:
    """Chart rows of the tasks that occur, in their usual order."""
    return [
        (task.name, row)
        for name, task in TASK_BY_ID.items()
        if any(row := [sum(n for key, n in counts.items() if key[0] == name) for counts in distributions.values()])
    ]


def by_category(distributions: Mapping[str, Counts], most: int = MAX_ROWS) -> Rows:
    """Chart rows of the categories, most frequent first; the rarest beyond `most` rows are summed, "none" is last."""
    tables = [_count_categories(counts) for counts in distributions.values()]
    names = sorted({name for table in tables for name in table if name})
    rows = [(name, [table[name] for table in tables]) for name in names]
    rows.sort(key=lambda row: ([-count for count in row[1]], row[0]))
    room = most - 1
    if len(rows) > room:
        rest = rows[room - 1 :]
        sums = [sum(column) for column in zip(*(counts for _, counts in rest), strict=True)]
        rows = [*rows[: room - 1], (f"{len(rest)} more", sums)]
    without = [table[""] for table in tables]
    return [*rows, (NONE, without)] if any(without) else rows


def _count_categories(counts: Counts) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, category), count in counts.items():
        found[category] += count
    return found


def distribution_plot(title: str, rows: Rows, labels: Sequence[str]) -> bytes:
    """Draw each row's share before and after as bars labelled with the number of cases; returns a PNG.

    Args:
        title: What is counted.
        rows: At least one.
        labels: Names of the distributions, in the order of the numbers of a row; 1 to 3.
    """
    import matplotlib.style  # type: ignore[import-not-found,unused-ignore]
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    columns = min(MAX_COLUMNS, -(-len(rows) // ROWS_A_COLUMN))
    lines = -(-len(rows) // columns)
    names = [name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 3]}..." for name, _ in rows]
    thick = 0.8 / len(labels)
    # The user's matplotlibrc must not change the bytes of a dataset, and a "$" in a category is no formula.
    with matplotlib.style.context(["default", {"text.parse_math": False, "text.color": INK, "font.size": 9}]):
        height = 0.7 + lines * (0.08 * len(labels) + 0.09)
        figure = Figure(figsize=(2 + 3.2 * columns, height), dpi=200, layout="constrained")
        plots = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
        for k, (label, colour) in enumerate(zip(labels, COLOURS[len(labels)], strict=True)):
            total = sum(counts[k] for _, counts in rows)
            for column, axes in enumerate(plots):
                part = [counts[k] for _, counts in rows[column * lines : (column + 1) * lines]]
                shares = [count / total if total else 0.0 for count in part]
                places = [line + k * thick for line in range(len(part))]
                bars = axes.barh(places, shares, 0.9 * thick, align="edge", color=colour, label=f"{label} ({total:,})")
                axes.bar_label(bars, [f"{count:,}" for count in part], padding=3, size=6, color=MUTED)
        for column, axes in enumerate(plots):
            part_names = [drawable_text(name) for name in names[column * lines : (column + 1) * lines]]
            axes.set_yticks([line + 0.4 for line in range(len(part_names))], part_names)
            axes.set_ylim(lines, -0.2)
            axes.set_xticks([])
            axes.margins(x=0.15)
            axes.tick_params(length=0, labelcolor=INK)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.spines["left"].set_color(RULE)
        handles = plots[0].containers
        heading = f"{title} (bars: share of all cases, figures: cases)"
        legend = figure.legend(handles=handles, title=heading, loc="outside upper left", ncols=3, frameon=False)
        legend.set_alignment("left")
        buffer = io.BytesIO()
        # Without the name and version of matplotlib, which PNG metadata would hold.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
