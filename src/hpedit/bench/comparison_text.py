"""A comparison, or one model's figures, as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from hpedit.bench import figure_text as figures
from hpedit.stats.intervals import GAIN

WIDTH = 80
NAME = 12
"""Columns of a model's name."""
TASK = 22
AT_ONCE = 4
"""Number of models that fit side by side in the tables by task."""


def comparison_text(result: Mapping[str, Any]) -> str:
    """All figures as text; a wide comparison by task is split into several tables."""
    labels = [model["label"] for model in result["models"]]
    lines = [figures.size_line(result) + (f"; reference: {result['reference']}" if len(labels) > 1 else "")]
    for label, verdict in result["verdicts"].items():
        lines += _wrapped(f"{label}: {verdict['text']}")
    for one in result["instruments"]:
        lines += ["", *_instrument(one, labels, result["reference"])]
    if not result["instruments"]:
        lines += ["", "Nothing was scored: give --scorer, or cases with exact targets."]
    if len(labels) > 1:
        lines += _alarms(result)
    lines += _speeds(result["models"])
    for note in result["notes"]:
        lines += _wrapped(f"Note: {note}")
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def _instrument(one: Mapping[str, Any], labels: Sequence[str], reference: str) -> list[str]:
    lines = _wrapped(f"{one['title']}: {one['note']}; {figures.counted(one['overall']['n'], 'case')}")
    if left := figures.left_out_line(one):
        lines += _wrapped(left)
    lines += _overall(one["overall"], labels)
    if len(one["tasks"]) > 1:
        lines += ["", *_by_task(one, labels, reference)]
    return lines


def _overall(block: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    many = len(labels) > 1
    head = f"{'':<{NAME}} {'mean':>5} {'95 %':^9}"
    head += f" {'gain':>6} {'95 %':^13} {'p':>5} {'w/t/l':>11}" if many else ""
    lines = [head + f" {'<=2':>4} {'>=4.5':>5}"]
    for label in labels:
        model = block["models"].get(label)
        line = f"{_cut(label, NAME):<{NAME}} {figures.mean_text(model):>5} {figures.bounds_text(model, '-'):^9}"
        if many:
            change = (model or {}).get("gain")
            line += f" {figures.gain_text(model):>6} {figures.bounds_text(change, ', ', GAIN):^13}"
            line += f" {figures.p_value_text((model or {}).get('p')):>5} {figures.win_tie_loss_text(model):>11}"
            line = line.replace(f" {figures.NONE:>6} {figures.NONE:^13} {figures.NONE:>5} {figures.NONE:>11}", " " * 39)
        low, high = ((model or {}).get(key) for key in ("low_share", "high_share"))
        lines.append(line + f" {figures.share_text(low):>4} {figures.share_text(high):>5}")
    if "copy" in block:
        lines.append(
            f"{'source':<{NAME}} {figures.mean_text(block['copy']):>5} {figures.bounds_text(block['copy'], '-'):^9}"
        )
    return lines


def _by_task(one: Mapping[str, Any], labels: Sequence[str], reference: str) -> list[str]:
    """Means by task, with the gain of other models; a star if it is significant after the correction."""
    others = [label for label in labels if label != reference]
    lines: list[str] = []
    for start in range(0, max(1, len(others)), AT_ONCE - 1):
        shown = others[start : start + AT_ONCE - 1]
        head = f"{'':<{TASK}} {'n':>4} {_cut(reference, 7):>7}"
        lines.append(head + "".join(f"  {_cut(label, NAME):>{NAME}} " for label in shown))
        for task, block in one["tasks"].items():
            models = block["models"]
            line = f"{_cut(figures.task_title(task), TASK):<{TASK}} {block['n']:>4}"
            line += f" {figures.mean_text(models.get(reference)):>7}"
            for label in shown:
                model = models.get(label)
                line += (
                    f"  {figures.mean_text(model):>5} {figures.gain_text(model):>6}{figures.clear_star(model) or ' '}"
                )
            lines.append(line)
    if others:
        lines.append(f"* {figures.STAR}")
    return lines


def _alarms(result: Mapping[str, Any]) -> list[str]:
    """Alarms of the pixel measures, and one line for those without an alarm."""
    loud: list[str] = []
    quiet: list[str] = []
    for name, measure in result["alarms"].items():
        for label, model in measure["models"].items():
            if "alarm" not in model:
                continue
            line = f"{name.replace('_', ' ')} of {label}: {model['meaning']}"
            (loud if model["alarm"] else quiet).append(line)
    if not loud and not quiet:
        return []
    lines = ["", *(row for line in loud for row in _wrapped(f"ALARM {line}"))]
    copied = {label: share for label, share in result["untouched"].items() if share}
    if copied:
        shares = ", ".join(f"{share:.0%} of {label}" for label, share in copied.items())
        lines += _wrapped(f"Edits that leave the picture unchanged: {shares}")
    if quiet:
        lines.append(f"{len(quiet)} of {len(loud) + len(quiet)} measures of the pixels raise no alarm")
    return lines


def _speeds(models: Sequence[Mapping[str, Any]]) -> list[str]:
    said = [f"{model['label']}: {line}" for model in models if (line := figures.speed_line(model))]
    return ["", "Cases per second:", *(f"  {row}" for line in said for row in _wrapped(line))] if said else []
