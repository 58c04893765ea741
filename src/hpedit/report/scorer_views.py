"""Template values of the scorer's page, from an agreement report and a learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hpedit.bench.figure_text import task_title
from hpedit.report import scorer_charts
from hpedit.report.report_views import View, estimate_cell
from hpedit.report.scorer_charts import Reference
from hpedit.stats.intervals import PAGE, PAGE_GAIN, UNDEFINED, Interval, NumberStyle, number_text
from hpedit.tasks import ordered_tasks

MEASURES = {
    "pearson": "Pearson",
    "spearman": "Spearman",
    "kendall": "Kendall \N{GREEK SMALL LETTER TAU}",
    "pairwise_accuracy": "Pairwise",
    "mae": "MAE",
}
JUDGES = {"scorer": "HP-Scorer", "raw": "Judge alone", "human": "One human"}
STYLES = {"scorer": "post", "raw": "base", "human": "control"}
ON_PHONES = ("Pearson", "Pairwise", "MAE")
"""Measures shown on narrow screens."""
PLOTTED = {"pearson": "Pearson with the mean rating", "pairwise_accuracy": "pairwise accuracy"}

Cells = Mapping[str, Any]


def judge_rows(report: Cells) -> list[View]:
    """One row per judge and one for the gain of calibration, a cell per measure."""
    rows = [
        {
            "name": name,
            "cells": [_read_cell(_block(report, key), m) for m in MEASURES],
            "main": key == "scorer",
        }
        for key, name in JUDGES.items()
    ]
    gains = [_read_cell(report, "gain", measure, style=PAGE_GAIN) for measure in MEASURES]
    return [*rows[:2], {"name": "What calibration adds", "cells": gains}, *rows[2:]]


def judge_pair_rows(report: Cells) -> list[View]:
    """How each judge ranks the pairs that people distinguish, and its accuracy for three treatments of ties."""
    ways = ("pairwise_accuracy", "pairwise_untied", "pairwise_ties_wrong")
    rows = []
    for key, name in JUDGES.items():
        block = _block(report, key)
        counts = block.get("pairs")
        figures = [str(counts[kind]) if counts else "\N{EN DASH}" for kind in ("right", "wrong", "tied_by_score")]
        rows.append({"name": name, "counts": figures, "cells": [_read_cell(block, way) for way in ways]})
    return rows


def trust_rows(report: Cells) -> list[View]:
    """Calibration of scores and deviations: overall, then a row per task."""
    rows = [_trust_row(task_title(task), block, total=False) for task, block in _tasks(report)]
    return [_trust_row("All edits", report, total=bool(rows)), *rows]


def _trust_row(name: str, block: Cells, *, total: bool) -> View:
    deviation = block["deviation"] or {}
    cells = [
        _read_cell(block, "reliability", "slope"),
        _read_cell(block, "reliability", "bias", style=PAGE_GAIN),
    ]
    cells += [_percent(found) for found in (deviation.get("coverage") or {}).values()] or [_cell(None)] * 3
    return {
        "name": name,
        "n": block["n"],
        "cells": [*cells, _read_cell(deviation, "z_spread")],
        "total": total,
    }


def task_rows(report: Cells) -> list[View]:
    """A row per task: edits, photos, and the scorer's measures with those of judge and people below."""
    return [
        {
            "name": task_title(task),
            "n": block["n"],
            "sources": block["sources"],
            "cells": [
                _read_cell(block, measure)
                | {
                    "judge": _figure(Interval.read(block, "raw", measure)),
                    "human": _figure(Interval.read(block, "human", measure)),
                }
                for measure in MEASURES
            ],
        }
        for task, block in _tasks(report)
    ]


def task_plots(report: Cells) -> list[View]:
    """One chart per measure over the tasks: scorer with interval, judge, human."""
    views = []
    for measure, name in PLOTTED.items():
        rows = [
            (task_title(task), [(STYLES[key], Interval.read(_block(block, key), measure)) for key in JUDGES])
            for task, block in _tasks(report)
        ]
        drawing = scorer_charts.task_plot(rows, title=f"{name} by task")
        if drawing:
            views.append({"title": name[0].upper() + name[1:], "svg": Markup(drawing)})
    return views


def reliability_views(report: Cells) -> list[View]:
    """A small reliability diagram per task."""
    views = []
    for task, block in _tasks(report):
        drawing = scorer_charts.reliability_plot(
            block["reliability"], title=f"reliability, {task_title(task)}", small=True
        )
        if drawing:
            views.append({"title": task_title(task), "svg": Markup(drawing)})
    return views


def curve_plots(curve: Cells) -> list[View]:
    """One learning curve chart per measure."""
    views = []
    for measure, name in PLOTTED.items():
        references = [
            Reference(label, level, STYLES[key])
            for key, label in (("raw", "judge alone"), ("human", "one human"))
            if (level := Interval.read(curve, key, measure))
        ]
        points = [(point["number"], point[measure]) for point in curve["points"]]
        drawing = scorer_charts.growth_plot(points, references, title=f"{name} by number of rated edits")
        if drawing:
            views.append({"title": name[0].upper() + name[1:], "svg": Markup(drawing)})
    return views


def curve_rows(curve: Cells) -> list[View]:
    """Learning curve rows: one per number of rated edits, then judge and people on the same held-out edits."""
    rows: list[View] = []
    for point in curve["points"]:
        cells = [_range(point[measure]) for measure in MEASURES]
        signal = f"{point['ok']} of {point['fits'] + point['failed']}" if point["fits"] else UNDEFINED
        failed = "" if point["fits"] else point["reason"]
        note = _short(point["short"]) if point["fits"] else ""
        rows.append({"name": str(point["number"]), "cells": cells, "signal": signal, "note": note, "failed": failed})
    for key in ("raw", "human"):
        cells = [_read_cell(curve, key, measure) for measure in MEASURES]
        rows.append({"name": JUDGES[key], "cells": cells, "signal": "", "note": "", "failed": ""})
    return rows


def _short(short: Mapping[str, int]) -> str:
    if not short:
        return ""
    return "fewer in " + ", ".join(f"{task_title(task)} ({count})" for task, count in short.items())


def _tasks(report: Cells) -> list[tuple[str, Cells]]:
    """The report's tasks in the usual order, others last."""
    tasks = report.get("tasks") or {}
    return [(task, tasks[task]) for task in ordered_tasks(tasks)]


def _block(report: Cells, key: str) -> Cells:
    block: Cells = report if key == "scorer" else report[key]
    return block


def _cell(interval: Interval | None, style: NumberStyle = PAGE) -> View:
    return estimate_cell(interval, style, UNDEFINED)


def _read_cell(block: Cells, *keys: str, style: NumberStyle = PAGE) -> View:
    return _cell(Interval.read(block, *keys), style)


def _percent(found: Cells) -> View:
    share = Interval.read(found)
    if share is None:
        return _cell(None)
    bounds = share.scaled(100).bounds(digits=0, between="\N{EN DASH}")
    return {"value": f"{share.value:.0%}", "interval": f"{bounds}\N{NARROW NO-BREAK SPACE}%" if bounds else ""}


def _range(found: Cells | None) -> View:
    return _cell(None if found is None else Interval(found["mean"], found["low"], found["high"]))


def _figure(interval: Interval | None) -> str:
    return UNDEFINED if interval is None else number_text(interval.value, PAGE)
