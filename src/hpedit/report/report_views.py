"""Template values of the demo's report: cards, table rows and charts; no HTML except the charts' SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hpedit.bench.figure_text import task_title
from hpedit.bench.model_verdict import Verdict
from hpedit.report import charts
from hpedit.report.charts import ForestRow
from hpedit.report.gain_wording import control_sentence, gain_bounds, gain_sentence, gain_view
from hpedit.report.picture_selection import NOTES, Frame, select_pictures, shown_scores
from hpedit.report.report_data import Agreement, Picture, ReportData
from hpedit.stats.intervals import PAGE, PAGE_GAIN, Interval, NumberStyle, finite_number, number_text
from hpedit.tasks import ordered_tasks

View = dict[str, Any]

INSTRUMENTS = {"oracle": "Oracle", "scorer": "HP-Scorer"}
INSTRUMENT_NOTES = {
    "oracle": "knows the exact right edit; took no part in training",
    "scorer": "the reward of the training itself",
}
LONGEST_INSTRUCTION = 300
"""Characters of an instruction on the page; the JSON twin has all of it."""
MEASURES = {"pearson": "Pearson", "spearman": "Spearman", "pairwise_accuracy": "Pairwise"}
JUDGES = {"scorer": "HP-Scorer, calibrated", "raw": "Judge, uncalibrated", "human": "Human ceiling"}


def shortened(text: str, limit: int = LONGEST_INSTRUCTION) -> str:
    """`text` for the page, cut at `limit` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def score_text(value: float | None) -> str:
    """A 0-5 score with two digits, or a dash."""
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def share_text(value: Any) -> str:
    """A share as whole per cent, or a dash."""
    share = finite_number(value)
    return "\N{EN DASH}" if share is None else f"{share:.0%}"


def block_of(summary: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    """The summary's block of one instrument; None if it was not measured."""
    block = summary.get(name) if summary else None
    return block if isinstance(block, Mapping) and block else None


def headline_cards(summary: Mapping[str, Any] | None) -> list[View]:
    """One card per instrument: gain, interval, before and after, verdict; [] if nothing was measured."""
    cards = []
    for key, name in INSTRUMENTS.items():
        block = block_of(summary, key)
        gain = Interval.read(block, "gain")
        card: View = {"name": name, "note": INSTRUMENT_NOTES[key], "verdict": gain_sentence(gain), "gain": None}
        if block and gain:
            card |= gain_view(gain) | {"block": _before_after(block), "outcome": _outcome(block)}
        cards.append(card)
    return cards if any(card["gain"] for card in cards) else []


def _before_after(block: Mapping[str, Any]) -> View:
    base, post = Interval.read(block, "base"), Interval.read(block, "post")
    share = block.get("low_share") or {}
    means = {"base": score_text(base.value if base else None), "post": score_text(post.value if post else None)}
    low = {"low_base": share_text(share.get("base")), "low_post": share_text(share.get("post"))}
    return {**means, **low, "n": block.get("n")}


def _outcome(block: Mapping[str, Any]) -> View | None:
    counts = block.get("win_tie_loss")
    if not counts:
        return None
    win, tie, loss = (int(counts.get(key, 0)) for key in ("win", "tie", "loss"))
    return {"svg": Markup(charts.outcome_bar(win, tie, loss)), "win": win, "tie": tie, "loss": loss}


def gain_forest(summary: Mapping[str, Any] | None) -> Markup:
    """Forest plot of every arm's gain over the base by each instrument."""
    rows = []
    for key, name in INSTRUMENTS.items():
        block = block_of(summary, key)
        arms = ((("gain",), "post-trained", "post"), (("control", "gain"), "more supervised", "control"))
        for path, label, style in arms:
            gain = Interval.read(block, *path)
            if gain:
                rows.append(ForestRow(label, gain, style, name))
    return Markup(
        charts.forest_plot(rows, label="gain over the base with 95 % intervals", axis="gain over the base, points of 5")
    )


def control_view(summary: Mapping[str, Any] | None) -> list[View]:
    """Per instrument: what the control arm gained, and how far post-training is ahead. Empty without a control."""
    rows = []
    for key, name in INSTRUMENTS.items():
        block = block_of(summary, key)
        gain = Interval.read(block, "control", "gain")
        if gain:
            rows.append({"name": name, "gain": gain.text(PAGE_GAIN), "verdict": control_sentence(block)})
    return rows


def reference_rows(summary: Mapping[str, Any] | None) -> list[View]:
    """Means of every arm by each instrument: copy of the source, base, control, post-trained."""
    arms = {"copy": "Copy of the source", "base": "Base", "control": "More supervised steps", "post": "Post-trained"}
    rows = []
    for key, label in arms.items():
        cells = [Interval.read(block_of(summary, name), key) for name in INSTRUMENTS]
        if any(cells):
            rows.append({"name": label, "cells": [estimate_cell(cell) for cell in cells]})
    return rows


CONTROLS = {
    "random_reward": "The same training, random reward",
    "supervised": "The base's own supervision",
    "best_of_n": "Base, best of n by the scorer",
    "clean_supervised": "Exact targets, as much computation",
}
"""Name in the summary -> name on the page."""


def control_rows(summary: Mapping[str, Any] | None) -> list[View]:
    """Gain over the base of post-training and of every control, by oracle and scorer; empty without controls."""
    found = (summary or {}).get("controls") or {}
    rows = [{"name": "Post-trained", "cells": _gain_cells(summary or {}, [(name, "gain") for name in INSTRUMENTS])}]
    for key, label in CONTROLS.items():
        if key in found:
            name = label.replace("best of n", f"best of {found[key]['n']}") if "n" in found[key] else label
            rows.append({"name": name, "cells": _gain_cells(found[key], [("gain",), ("scorer_gain",)])})
    return rows if found else []


def _gain_cells(block: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> list[View]:
    """Signed cells of the estimates at some paths of a block."""
    return [estimate_cell(Interval.read(block, *path), PAGE_GAIN) for path in paths]


def step_rows(summary: Mapping[str, Any] | None) -> list[View]:
    """Oracle means of base and post-trained editor by number of sampling steps; empty where one alone was measured."""
    found, best = (summary or {}).get("steps") or {}, (summary or {}).get("best_steps")
    return [
        {
            "name": f"{steps} steps" + (" (compared)" if steps == str(best) else ""),
            "cells": [estimate_cell(Interval.read(arms, arm)) for arm in ("base", "post")],
        }
        for steps, arms in found.items()
    ]


def estimate_cell(estimate: Interval | None, style: NumberStyle = PAGE, absent: str = "\N{EN DASH}") -> View:
    """A table cell: the value, and its interval as small print."""
    if estimate is None:
        return {"value": absent, "interval": ""}
    # A dash between signed figures would read as a minus.
    between = " to " if style.plus or (estimate.low or 0) < 0 else "\N{EN DASH}"
    return {"value": number_text(estimate.value, style), "interval": estimate.bounds(style, between=between)}


def gain_task_tables(summary: Mapping[str, Any] | None) -> list[View]:
    """One table per instrument, a row per task, all bars on one axis; the last row is the whole benchmark."""
    tasks = (summary or {}).get("tasks") or {}
    tables = []
    for key, name in INSTRUMENTS.items():
        blocks = [(task_title(task), block_of(tasks[task], key)) for task in ordered_tasks(tasks)]
        blocks.append(("All tasks", block_of(summary, key)))
        rows = [(label, block, gain) for label, block in blocks if block and (gain := Interval.read(block, "gain"))]
        if not rows:
            continue
        domain = charts.interval_domain([gain for _, _, gain in rows])
        tables.append({"name": name, "rows": [_task_row(label, block, gain, domain) for label, block, gain in rows]})
    return tables


def _task_row(label: str, block: Mapping[str, Any], gain: Interval, domain: tuple[float, float]) -> View:
    bar = Markup(charts.interval_bar(gain, domain))
    row = {"name": label, "bar": bar, "total": label == "All tasks"}
    return row | _before_after(block) | gain_view(gain)


def distributions(pictures: Sequence[Picture]) -> list[View]:
    """Histograms of the scores before and after, by each instrument that scored any case."""
    views = []
    for key, name in INSTRUMENTS.items():
        pairs = [pair for picture in pictures if (pair := getattr(picture, key)) is not None]
        before, after = ([pair[side] for pair in pairs if pair[side] is not None] for side in (0, 1))
        svg = charts.histogram(before, after, title=f"scores by {name} before and after")
        if svg:
            views.append({"title": name, "note": "share of cases; tinted: 2 or less", "svg": Markup(svg)})
    return views


def report_picture_groups(pictures: Sequence[Picture]) -> list[View]:
    """The chosen pictures of the demo's report as cards."""
    groups = select_pictures(pictures)
    return [
        {"title": title, "note": NOTES[title], "cards": [_picture_card(picture) for picture in found]}
        for title, found in groups.items()
    ]


def _picture_card(picture: Picture) -> View:
    frames = [("source", picture.source), ("before", picture.base), ("after", picture.post)]
    if picture.target is not None:
        frames.append(("target", picture.target))
    pair = shown_scores(picture)
    change = None if pair is None else pair[1] - pair[0]
    return {
        "id": picture.case_id,
        "task": task_title(picture.task),
        "instruction": shortened(picture.instruction),
        "frames": [{"name": name, "frame": Frame.of(image)} for name, image in frames],
        "scores": [row for key in INSTRUMENTS if (row := _pair_row(INSTRUMENTS[key], getattr(picture, key)))],
        "change": None if change is None else number_text(change, PAGE_GAIN),
        "tone": "plain" if change is None or abs(change) < 0.005 else "good" if change > 0 else "bad",
    }


def _pair_row(name: str, pair: tuple[float | None, float | None] | None) -> View | None:
    if pair is None:
        return None
    before, after = ("unscorable" if value is None else f"{value:.2f}" for value in pair)
    return {"name": name, "before": before, "after": after}


def agreement_view(agreement: Agreement) -> View:
    """Agreement with raters: a row per judge, a column per measure, the verdict, and the scatter plot."""
    report = agreement.report
    rows = []
    for key, label in JUDGES.items():
        block = report if key == "scorer" else report.get(key)
        cells = [Interval.read(block if isinstance(block, Mapping) else None, measure) for measure in MEASURES]
        if any(cells):
            rows.append({"name": label, "cells": [estimate_cell(cell) for cell in cells], "main": key == "scorer"})
    gains = [Interval.read(report, "gain", measure) for measure in MEASURES]
    if any(gains):
        rows.append({"name": "What calibration adds", "cells": [estimate_cell(gain, PAGE_GAIN) for gain in gains]})
    raters = "simulated raters" if agreement.simulated else "people"
    svg = charts.scatter(
        agreement.points, x_label=f"mean rating by {raters}", y_label="HP-Scorer", title=f"HP-Scorer against {raters}"
    )
    return {
        "title": agreement.title,
        "simulated": agreement.simulated,
        "rows": rows,
        "measures": list(MEASURES.values()),
        "verdict": _agreement_verdict(report),
        "n": report.get("n"),
        "unscorable": report.get("unscorable"),
        "scatter": Markup(svg),
        "tasks": _agreement_tasks(report),
    }


def _agreement_verdict(report: Mapping[str, Any]) -> Verdict:
    verdict, reason = str(report.get("verdict", "")), str(report.get("reason") or "")
    text = f"{verdict}: {reason}" if reason else verdict
    return Verdict(text, "good" if verdict == "ok" else "warn")


def _agreement_tasks(report: Mapping[str, Any]) -> list[View]:
    tasks = report.get("tasks") or {}
    rows = []
    for task in ordered_tasks(tasks):
        cells = [Interval.read(tasks[task], measure) for measure in MEASURES]
        if any(cells):
            rows.append({"name": task_title(task), "cells": [estimate_cell(cell) for cell in cells]})
    return rows


def pixel_alarm_rows(summary: Mapping[str, Any] | None) -> list[View]:
    """Pixel measures on sources, before and after, with their change and alarm."""
    rows = []
    for name, alarm in ((summary or {}).get("alarms") or {}).items():
        change = Interval.read(alarm, "gain")
        levels = [Interval.read(alarm, key) for key in ("source", "base", "post")]
        if change is None:
            continue
        cells = ["\N{EN DASH}" if level is None else f"{level.value:.3f}" for level in levels]
        row = {"name": name.replace("_", " "), "cells": cells, "alarm": bool(alarm.get("alarm"))}
        row |= {"change": number_text(change.value, PAGE_GAIN, 3), "bounds": gain_bounds(change, 3)}
        rows.append(row | {"meaning": alarm.get("meaning", "")})
    return rows


def stage_times(data: ReportData) -> list[View]:
    """Duration of each stage, with its share of the longest for a bar, and the sum."""
    seconds = data.stage_seconds()
    known = {name: value for name, raw in seconds.items() if (value := finite_number(raw)) is not None}
    longest = max(itertools.chain(known.values(), [0.0])) or 1.0
    rows = [{"name": name, "time": duration_text(value), "share": value / longest} for name, value in known.items()]
    return [*rows, {"name": "Sum", "time": duration_text(sum(known.values())), "share": None}] if rows else []


def duration_text(seconds: float) -> str:
    """Seconds as "8.3 s", "4 min 05 s" or "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{math.floor(minutes / 60)} h {minutes % 60:02d} min"
