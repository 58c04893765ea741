"""Write a comparison of models as a self-contained page; compare.json beside it has the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench import figure_text as figures
from hpedit.report import bench_views as views
from hpedit.report.bench_pictures import BenchPicture
from hpedit.report.report_page import HTML_NAME, page_environment, page_style
from hpedit.store.atomic import atomic_write


def write_bench_page(
    out: Path, result: Mapping[str, Any], pictures: Sequence[BenchPicture], *, command: str = ""
) -> Path:
    """Write a comparison's report.html into the folder `out`, atomically; equal inputs give equal bytes.

    Args:
        out: an existing folder.
        result: as `hpedit.bench.comparison.compare_models` returns it.
        pictures: as `collect_bench_pictures` chose them.
        command: the command that made it.

    Returns:
        The path of the page.
    """
    path = out / HTML_NAME
    atomic_write(path, render_bench_page(result, pictures, command=command).encode("utf-8", "replace"))
    return path


def render_bench_page(result: Mapping[str, Any], pictures: Sequence[BenchPicture], *, command: str = "") -> str:
    """A comparison's page as HTML."""
    labels = [model["label"] for model in result["models"]]
    return page_environment().get_template("bench.html.jinja").render(
        style=page_style(),
        title=_title(labels),
        size=figures.size_line(result),
        reference=result["reference"],
        labels=labels,
        styles=[views.style_of(result, label) for label in labels],
        cards=views.model_cards(result),
        forest=views.model_gain_forest(result),
        tables=views.overall_tables(result),
        pairs=views.model_pair_rows(result),
        tasks=views.model_task_tables(result),
        alarms=result["alarms"],
        untouched=result["untouched"],
        groups=views.bench_picture_groups(pictures, labels),
        stages={"edit": "Edit", "measure": "Measure the pixels", "scorer": "Score", "second": "Second judge"},
        facts=views.fingerprint_rows(result),
        notes=result["notes"],
        models=result["models"],
        settings=result["settings"],
        command=command,
    )  # fmt: skip


def _title(labels: Sequence[str]) -> str:
    others = labels[1:]
    named = others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"
    return f"{named} against {labels[0]}" if len(others) <= 3 else f"{len(others)} models against {labels[0]}"
