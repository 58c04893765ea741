"""Write the pages of a training run: report.html with alarms, gains and curves, and a page per record of groups.

Self-contained, no script, no network; the pages link to one another by relative names. report.json has the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpedit.report import train_views as views
from hpedit.report.group_views import group_views
from hpedit.report.report_page import HTML_NAME, JSON_NAME, json_text, page_environment, page_style
from hpedit.report.train_charts import held_out_charts
from hpedit.report.train_data import TrainRun
from hpedit.report.training_curves import metric_charts
from hpedit.rl.monitor.evaluations import evaluation_metrics
from hpedit.rl.monitor.group_log import read_group_log
from hpedit.store.atomic import atomic_write

PAGES = "report"
"""Folder of the pages below the run's."""


def write_train_page(path: Path | str, out: Path | None = None, *, command: str = "") -> Path:
    """Write the pages of the training run in `path`, finished or not, atomically.

    Args:
        path: The run's folder.
        out: Folder of the pages; None takes report/ below the run.
        command: The command that made them.

    Returns:
        The path of report.html.

    Raises:
        HPEditError: `path` is not a training run.
    """
    run = TrainRun.open(path)
    out = out or run.path / PAGES
    out.mkdir(parents=True, exist_ok=True)
    pages = [_write_groups(run, file, out) for file in run.groups]
    current = {page["file"] for page in pages}
    for stale in out.glob("groups_*.html"):
        if stale.name not in current:
            stale.unlink()
    atomic_write(out / JSON_NAME, json_text(_twin(run)))
    atomic_write(out / HTML_NAME, _render(run, pages, command).encode("utf-8", "replace"))
    return out / HTML_NAME


def alarm_note(path: Path | str) -> str:
    """The alarms of a run's held-out evaluations, in a sentence for another page."""
    run = TrainRun.open(path)
    found = views.alarm_views(run)
    where = f"see {run.path.name}/{PAGES}/{HTML_NAME}"
    if not found:
        return f"Training: {views.no_alarm(run).text} For more, {where}."
    told = "; ".join(f"{alarm['text']} (iteration {alarm['last']})" for alarm in found)
    return f"Training raised {'an alarm' if len(found) == 1 else f'{len(found)} alarms'}, {where}: {told}."


def _render(run: TrainRun, pages: list[dict[str, Any]], command: str) -> str:
    curves, zero = metric_charts(run.metrics, skip=["Held-out"])
    return page_environment().get_template("train.html.jinja").render(
        style=page_style(),
        title=run.path.resolve().name,
        status=views.run_status(run),
        alarms=views.alarm_views(run),
        quiet=views.no_alarm(run),
        cards=views.instrument_cards(run),
        size=_size(run),
        held_out=held_out_charts(run.table),
        curves=curves,
        zero=zero,
        grids=views.grid_views(run.grids),
        pages=pages,
        facts=views.run_facts(run),
        command=command,
    )  # fmt: skip


def _size(run: TrainRun) -> dict[str, int] | None:
    if run.table is None:
        return None
    return {"n": len(run.table.cases), "sources": len(set(run.table.source_ids)), "looks": len(run.table.evaluations)}


def _write_groups(run: TrainRun, file: Path, out: Path) -> dict[str, Any]:
    groups = group_views(read_group_log(file))
    iteration = int(file.stem.removeprefix("iteration_"))
    page = out / f"groups_{iteration:06d}.html"
    text = page_environment().get_template("groups.html.jinja").render(
        style=page_style(), title=run.path.resolve().name, iteration=iteration, groups=groups
    )  # fmt: skip
    atomic_write(page, text.encode("utf-8", "replace"))
    edits = sum(len(group["edits"]) for group in groups)
    return {"file": page.name, "iteration": iteration, "groups": len(groups), "edits": edits}


def _twin(run: TrainRun) -> dict[str, Any]:
    looks = run.table.evaluations if run.table else []
    return {
        "run": run.path.resolve().name,
        "iterations": run.done,
        "result": run.result,
        "alarms": list(run.alarms),
        "looks": [{"step": look.step, **evaluation_metrics(run.table, look)} for look in looks if run.table],
        "metrics": list(run.metrics),
    }
