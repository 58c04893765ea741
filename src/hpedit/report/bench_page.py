"""Write a comparison as a page: self-contained, no script, no network; compare.json beside it has the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench import figure_text as figures
from hpedit.report import bench_views as views
from hpedit.report.bench_pictures import BenchPicture
from hpedit.report.report_page import HTML_NAME, environment, style
from hpedit.report.report_views import page_safe
from hpedit.store.atomic import atomic_write


def write_bench_page(
    out: Path, result: Mapping[str, Any], pictures: Sequence[BenchPicture], *, command: str = ""
) -> Path:
    """Write report.html into the folder `out`, atomically; equal inputs give equal bytes.

    Args:
        out: the folder, which is there.
        result: as `hpedit.bench.comparison.compare_models` returns it.
        pictures: as `collect_bench_pictures` chose them.
        command: which made it.

    Returns:
        The path of the page.
    """
    path = out / HTML_NAME
    atomic_write(path, render_bench_page(result, pictures, command=command).encode("utf-8", "replace"))
    return path


def render_bench_page(result: Mapping[str, Any], pictures: Sequence[BenchPicture], *, command: str = "") -> str:
    """The page as text."""
    labels = [model["label"] for model in result["models"]]
    return environment().get_template("bench.html.jinja").render(
        style=style(),
        title=page_safe(_title(labels)),
        size=figures.size_line(result),
        reference=page_safe(result["reference"]),
        labels=[page_safe(label) for label in labels],
        styles=[views.style_of(result, label) for label in labels],
        cards=views.model_views(result),
        forest=views.forest(result),
        tables=views.overall_tables(result),
        pairs=views.pair_rows(result),
        tasks=views.task_tables(result),
        alarms=views.alarm_rows(result),
        untouched=views.untouched_row(result),
        groups=views.picture_groups(pictures, labels),
        speeds=views.speed_rows(result),
        facts=views.facts(result),
        notes=[page_safe(note) for note in result["notes"]],
        missing=[(page_safe(one["label"]), one["missing"]) for one in result["models"] if one["missing"]],
        sizes=[(page_safe(one["label"]), one["sizes_differ"]) for one in result["models"] if one["sizes_differ"]],
        settings=result["settings"],
        command=page_safe(command),
    )  # fmt: skip


def _title(labels: Sequence[str]) -> str:
    others = labels[1:]
    named = others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"
    return f"{named} against {labels[0]}" if len(others) <= 3 else f"{len(others)} models against {labels[0]}"
