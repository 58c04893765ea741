"""Template values of a comparison's page: cards, tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from hpedit.bench import figure_text as figures
from hpedit.report import charts
from hpedit.report.bench_pictures import BenchPicture
from hpedit.report.charts import ForestRow
from hpedit.report.gain_wording import gain_view
from hpedit.report.picture_selection import Frame
from hpedit.report.report_views import score_text, shortened
from hpedit.stats.intervals import PAGE_GAIN, Interval

View = dict[str, Any]

STYLES = ("post", "control", "third", "fourth", "base")
"""Colours of the models after the reference; from the sixth they repeat."""


def model_cards(result: Mapping[str, Any]) -> list[View]:
    """One card per model other than the reference: its verdict, and its gain by each instrument."""
    cards = []
    for label, verdict in result["verdicts"].items():
        rows = [row for one in result["instruments"] if (row := _gain_row(one, label))]
        cards.append({"label": label, "verdict": verdict, "rows": rows, "style": style_of(result, label)})
    return cards


def _gain_row(one: Mapping[str, Any], label: str) -> View | None:
    model = one["overall"]["models"].get(label)
    gain = Interval.read(model, "gain")
    if model is None or gain is None:
        return None
    counts = model["win_tie_loss"]
    # Green and red would suggest a conclusion that a scorer without signal does not support.
    bar = "" if one.get("doubt") else charts.outcome_bar(counts["win"], counts["tie"], counts["loss"])
    row = {"name": one["title"], "note": one["note"], "tone": {1: "good", 0: "", -1: "bad"}[_sign(one, gain)]}
    row |= {"p": figures.p_value_text(model["p"]), "tally": figures.win_tie_loss_text(model, " / ")}
    return gain_view(gain) | row | {"svg": Markup(bar)}


def _sign(one: Mapping[str, Any], gain: Interval) -> int:
    """Sign of a gain for its colour; 0 if the scorer has no signal on people's ratings."""
    return 0 if one.get("doubt") else gain.sign


def style_of(result: Mapping[str, Any], label: str) -> str:
    """The colour style of a model, the same in all charts."""
    labels = [model["label"] for model in result["models"]]
    place = labels.index(label)
    return "base" if place == 0 else STYLES[(place - 1) % len(STYLES)]


def model_gain_forest(result: Mapping[str, Any]) -> Markup:
    """Forest plot of every model's gain over the reference by each instrument."""
    rows = []
    for one in result["instruments"]:
        for label, model in one["overall"]["models"].items():
            gain = Interval.read(model, "gain")
            if gain:
                short = shortened(label, 16)
                rows.append(ForestRow(short, gain, style_of(result, label), shortened(one["title"], 40)))
    axis = f"gain over {shortened(result['reference'], 24)}, points of 5"
    return Markup(charts.forest_plot(rows, label="gains with 95 % intervals", axis=axis))


def overall_tables(result: Mapping[str, Any]) -> list[View]:
    """One table per instrument, a row per model; the template reads other figures from the comparison itself."""
    return [{"one": one, "rows": _overall_rows(one, result["models"])} for one in result["instruments"]]


def _overall_rows(one: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[View]:
    models = one["overall"]["models"]
    gains = {label: gain for label, model in models.items() if (gain := Interval.read(model, "gain"))}
    domain = charts.interval_domain(list(gains.values()))
    rows = []
    for entry in entries:
        model, gain = models.get(entry["label"], {}), gains.get(entry["label"])
        bar = Markup(charts.interval_bar(gain, domain)) if gain else ""
        row = {"label": entry["label"], "model": model, **gain_view(gain), "bar": bar}
        rows.append(row | {"sign": _sign(one, gain) if gain else 0})
    return rows


def model_task_tables(result: Mapping[str, Any]) -> list[View]:
    """One table per instrument: a row per task, a column per model, each gain with interval and star."""
    tables = []
    for one in result["instruments"]:
        silent = bool(one.get("doubt"))
        rows = [_task_row(figures.task_title(task), block, result, silent) for task, block in one["tasks"].items()]
        if len(rows) > 1:
            rows.append(_task_row("All tasks", one["overall"], result, silent) | {"total": True})
            tables.append({"title": one["title"], "rows": rows})
    return tables


def _task_row(name: str, block: Mapping[str, Any], result: Mapping[str, Any], silent: bool) -> View:
    cells = []
    for entry in result["models"]:
        model = block["models"].get(entry["label"])
        gain = Interval.read(model, "gain")
        # Colour only what is significant after the correction; among a dozen tasks something always stands out.
        tone = "quiet" if not gain or not gain.sign or silent else "good" if gain.sign > 0 else "bad"
        cells.append({"model": model or {}, "gain": gain_view(gain)["gain"], "tone": tone,
                      "bounds": f"[{gain.bounds(PAGE_GAIN)}]" if gain and gain.known else ""})  # fmt: skip
    return {"name": name, "n": block["n"], "cells": cells, "total": False}


def model_pair_rows(result: Mapping[str, Any]) -> list[View]:
    """Pairwise gains between the models other than the reference."""
    return [
        _pair_row(one["title"], pair)
        for one in result["instruments"]
        for pair in one["overall"]["pairs"]
        if Interval.read(pair, "gain")
    ]


def _pair_row(title: str, pair: Mapping[str, Any]) -> View:
    """The pair in the order in which the difference is a gain."""
    gain = Interval.read(pair, "gain") or Interval(0.0)
    counts = [pair["win_tie_loss"][key] for key in ("win", "tie", "loss")]
    first, second = pair["of"], pair["over"]
    if gain.value < 0:
        first, second, counts, gain = second, first, counts[::-1], gain.scaled(-1)
    row = {"instrument": title, "names": f"{first} over {second}", "gain": gain.text(PAGE_GAIN)}
    return row | {"p": figures.p_value_text(pair["p"]), "tally": " / ".join(map(str, counts))}


def bench_picture_groups(pictures: Sequence[BenchPicture], labels: Sequence[str]) -> list[View]:
    """The chosen cases of a comparison as cards, by group."""
    groups: dict[str, list[View]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(_picture_card(picture, labels))
    return [{"title": title, "note": NOTES[title], "cards": cards} for title, cards in groups.items()]


NOTES = {
    "Largest losses": "where a model is furthest behind the reference, worst first",
    "Lowest results": "the lowest scores of any model among the others, 2 or less",
    "Largest gains": "where a model is furthest ahead of the reference",
    "Random sample": "drawn by a hash of the case's name from the rest, so nobody picked them",
}


def _picture_card(picture: BenchPicture, labels: Sequence[str]) -> View:
    frames: list[tuple[str, Frame | None]] = [("source", picture.source)]
    frames += [(label, picture.edits[label]) for label in labels]
    if picture.target is not None:
        frames.append(("target", picture.target))
    return {
        "id": picture.case_id,
        "task": figures.task_title(picture.task),
        "instruction": shortened(picture.instruction),
        "frames": [{"name": shortened(name, 18), "frame": frame} for name, frame in frames],
        "scores": [
            {"name": name, "values": [score_text(table[label]) for label in labels]}
            for name, table in picture.scores.items()
        ],
        "columns": len(frames) if len(frames) <= 6 else -(-len(frames) // 2),
    }


def fingerprint_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fingerprints of models, cases and instruments."""
    found = [(f"editor, {model['label']}", str(model["editor"])) for model in result["models"]]
    found += [(str(one["title"]), str(one["fingerprint"])) for one in result["instruments"] if one["fingerprint"]]
    if result["cases"]:
        found.append(("cases", str(result["cases"])))
    return found
