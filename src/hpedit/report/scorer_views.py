"""From an agreement report and a learning curve to what the scorer's page prints. No HTML but the charts' SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hpedit.report import scorer_charts
from hpedit.report.charts import Interval, signed
from hpedit.report.gain_wording import estimate
from hpedit.report.report_views import View, page_safe, task_name
from hpedit.report.scorer_charts import Reference
from hpedit.tasks import TASK_IDS

MEASURES = {
    "pearson": "Pearson",
    "spearman": "Spearman",
    "kendall": "Kendall \N{GREEK SMALL LETTER TAU}",
    "pairwise_accuracy": "Pairwise",
    "mae": "MAE",
}
JUDGES = {"scorer": "HP-Scorer", "raw": "Judge alone", "human": "One human"}
STYLES = {"scorer": "post", "raw": "base", "human": "control"}
NO_VALUE = "n/a"
ON_PHONES = ("Pearson", "Pairwise", "MAE")
"""Measures that a narrow screen has room for."""
PLOTTED = {"pearson": "Pearson with the mean rating", "pairwise_accuracy": "pairwise accuracy"}

Cells = Mapping[str, Any]


def judge_rows(report: Cells) -> list[View]:
    """One row a judge and one for what calibration adds, a cell a measure."""
    rows = [
        {"name": name, "cells": [_cell(estimate(_block(report, key), m)) for m in MEASURES], "main": key == "scorer"}
        for key, name in JUDGES.items()
    ]
    gains = [_cell(estimate(report, "gain", measure), sign=True) for measure in MEASURES]
    return [*rows[:2], {"name": "What calibration adds", "cells": gains}, *rows[2:]]


def pair_rows(report: Cells) -> list[View]:
    """How each judge orders the pairs that people tell apart, and its accuracy by three ways to treat its ties."""
    ways = ("pairwise_accuracy", "pairwise_untied", "pairwise_ties_wrong")
    rows = []
    for key, name in JUDGES.items():
        block = _block(report, key)
        counts = block.get("pairs")
        figures = [str(counts[kind]) if counts else "\N{EN DASH}" for kind in ("right", "wrong", "tied_by_score")]
        rows.append({"name": name, "counts": figures, "cells": [_cell(estimate(block, way)) for way in ways]})
    return rows


def coverage_rows(deviation: Cells) -> list[View]:
    """Share of mean ratings inside the stated intervals, beside the nominal share."""
    return [
        {"name": f"{float(level):.0%} interval", "nominal": f"{float(level):.0%}", "cell": _percent(found)}
        for level, found in deviation["coverage"].items()
    ]


def trust_rows(report: Cells) -> list[View]:
    """Whether scores and deviations mean what they say: overall, then a row a task."""
    rows = [_trust_row(task_name(task), block, total=False) for task, block in _tasks(report)]
    return [_trust_row("All edits", report, total=bool(rows)), *rows]


def _trust_row(name: str, block: Cells, *, total: bool) -> View:
    deviation = block["deviation"] or {}
    cells = [_cell(estimate(block, "reliability", "slope")), _cell(estimate(block, "reliability", "bias"), sign=True)]
    cells += [_percent(found) for found in (deviation.get("coverage") or {}).values()] or [_cell(None)] * 3
    return {"name": name, "n": block["n"], "cells": [*cells, _cell(estimate(deviation, "z_spread"))], "total": total}


def task_rows(report: Cells) -> list[View]:
    """A row a task: edits, photos, and the scorer's measures with what judge and people reach below."""
    return [
        {
            "name": task_name(task),
            "n": block["n"],
            "sources": block["sources"],
            "cells": [
                _cell(estimate(block, measure))
                | {
                    "judge": _figure(estimate(block, "raw", measure)),
                    "human": _figure(estimate(block, "human", measure)),
                }
                for measure in MEASURES
            ],
        }
        for task, block in _tasks(report)
    ]


def task_plots(report: Cells) -> list[View]:
    """Per measure a chart of the tasks: scorer with interval, judge, human."""
    views = []
    for measure, name in PLOTTED.items():
        rows = [
            (task_name(task), [(STYLES[key], estimate(_block(block, key), measure)) for key in JUDGES])
            for task, block in _tasks(report)
        ]
        drawing = scorer_charts.task_plot(rows, title=f"{name} by task")
        if drawing:
            views.append({"title": name[0].upper() + name[1:], "svg": Markup(drawing)})
    return views


def reliability_views(report: Cells) -> list[View]:
    """A small reliability plot a task."""
    views = []
    for task, block in _tasks(report):
        drawing = scorer_charts.reliability_plot(
            block["reliability"], title=f"reliability, {task_name(task)}", small=True
        )
        if drawing:
            views.append({"title": task_name(task), "svg": Markup(drawing)})
    return views


def curve_plots(curve: Cells) -> list[View]:
    """Per measure a chart over the number of rated edits."""
    views = []
    for measure, name in PLOTTED.items():
        references = [
            Reference(label, level, STYLES[key])
            for key, label in (("raw", "judge alone"), ("human", "one human"))
            if (level := estimate(curve, key, measure))
        ]
        points = [(point["number"], point[measure]) for point in curve["points"]]
        drawing = scorer_charts.growth_plot(points, references, title=f"{name} by number of rated edits")
        if drawing:
            views.append({"title": name[0].upper() + name[1:], "svg": Markup(drawing)})
    return views


def curve_rows(curve: Cells) -> list[View]:
    """A row a number of rated edits, then the judge and people on the same held-out edits."""
    rows: list[View] = []
    for point in curve["points"]:
        cells = [_range(point[measure]) for measure in MEASURES]
        signal = f"{point['ok']} of {point['fits'] + point['failed']}" if point["fits"] else NO_VALUE
        failed = "" if point["fits"] else page_safe(point["reason"])
        note = _short(point["short"]) if point["fits"] else ""
        rows.append({"name": str(point["number"]), "cells": cells, "signal": signal, "note": note, "failed": failed})
    for key in ("raw", "human"):
        cells = [_cell(estimate(curve, key, measure)) for measure in MEASURES]
        rows.append({"name": JUDGES[key], "cells": cells, "signal": "", "note": "", "failed": ""})
    return rows


def _short(short: Mapping[str, int]) -> str:
    if not short:
        return ""
    return "fewer in " + ", ".join(f"{task_name(task)} ({count})" for task, count in short.items())


def _tasks(report: Cells) -> list[tuple[str, Cells]]:
    """Tasks in the usual order, others behind."""
    tasks = report.get("tasks") or {}
    order = [task for task in TASK_IDS if task in tasks] + sorted(set(tasks) - set(TASK_IDS))
    return [(task, tasks[task]) for task in order]


def _block(report: Cells, key: str) -> Cells:
    block: Cells = report if key == "scorer" else report[key]
    return block


def _cell(interval: Interval | None, *, sign: bool = False) -> View:
    """A value, and its interval as small print."""
    if interval is None:
        return {"value": NO_VALUE, "interval": ""}

    def written(number: float) -> str:
        return signed(number) if sign else _minus(f"{number:.2f}")

    if interval.low is None or interval.high is None:
        return {"value": written(interval.value), "interval": ""}
    between = " to " if sign or interval.low < 0 else "\N{EN DASH}"
    return {"value": written(interval.value), "interval": f"{written(interval.low)}{between}{written(interval.high)}"}


def _percent(found: Cells) -> View:
    if found["value"] is None:
        return {"value": NO_VALUE, "interval": ""}
    low, high = found["ci95"]
    bounds = (
        "" if low is None or high is None else f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f}\N{NARROW NO-BREAK SPACE}%"
    )
    return {"value": f"{found['value']:.0%}", "interval": bounds}


def _range(found: Cells | None) -> View:
    if found is None:
        return {"value": NO_VALUE, "interval": ""}
    return _cell(Interval(found["mean"], found["low"], found["high"]))


def _figure(interval: Interval | None) -> str:
    return NO_VALUE if interval is None else _minus(f"{interval.value:.2f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def as_texts(pairs: Mapping[str, object]) -> Sequence[tuple[str, str]]:
    """Names and values as text that a page can carry."""
    return [(page_safe(name), page_safe(value)) for name, value in pairs.items()]
