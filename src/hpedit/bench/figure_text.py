"""Figures of a comparison as text, the same in terminal, tables and page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpedit.stats.cluster_mean import SIGNIFICANT
from hpedit.stats.intervals import FEWEST_PHOTOS, GAIN, PLAIN, Interval, NumberStyle, number_text
from hpedit.tasks import TASK_BY_ID

NONE = "-"

STAR = f"p < {SIGNIFICANT:g} after Holm's correction over the tasks, on at least {FEWEST_PHOTOS} photos"
"""What the star says."""

Figures = Mapping[str, Any]


def task_title(task: str) -> str:
    """A task's name for people."""
    return TASK_BY_ID[task].name if task in TASK_BY_ID else task


def mean_text(model: Figures | None) -> str:
    """A mean score (0-5) with two decimals."""
    interval = Interval.read(model)
    return number_text(interval.value) if interval else NONE


def bounds_text(estimate: Figures | None, between: str = " to ", style: NumberStyle = PLAIN) -> str:
    """The 95 % interval, or a dash."""
    interval = Interval.read(estimate)
    return (interval and interval.bounds(style, between=between)) or NONE


def gain_text(model: Figures | None) -> str:
    """The paired difference to the reference model, signed; a dash for the reference itself."""
    gain = Interval.read(model, "gain")
    return number_text(gain.value, GAIN) if gain else NONE


def p_value_text(p: float | None) -> str:
    """A p value with as many digits as mean something."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def clear_star(model: Figures | None) -> str:
    """A star if a difference is clear: significant after Holm's correction, over enough photos."""
    gain = Interval.read(model, "gain")
    return "*" if gain and gain.clear else ""


def share_text(value: float | None) -> str:
    """A share in whole per cent."""
    return NONE if value is None else f"{value:.0%}"


def win_tie_loss_text(model: Figures | None, between: str = "/") -> str:
    """Numbers of cases won, tied, lost."""
    counts = (model or {}).get("win_tie_loss")
    return NONE if not counts else between.join(str(counts[key]) for key in ("win", "tie", "loss"))


def counted(number: int, what: str) -> str:
    """A number of things, in the plural unless there is just one."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def size_line(result: Figures) -> str:
    """How many cases, photos and tasks a comparison covers."""
    tasks = counted(len(result["tasks"]), "task")
    return f"{counted(result['n'], 'case')} of {counted(result['sources'], 'photo')}, {tasks}"


def left_out_line(one: Figures) -> str:
    """How many cases an instrument could not score; empty if it scored all."""
    if not one["left_out"]:
        return ""
    counts = ", ".join(f"{count} of {name}" for name, count in one["unscorable"].items() if count)
    return f"left out for every model: {counted(one['left_out'], 'case')} (without a score: {counts})"


def speed_line(model: Figures) -> str:
    """Cases per second of each stage."""
    names = {"edit": "edit", "measure": "measure", "scorer": "score", "second": "second judge"}
    return ", ".join(f"{names.get(key, key)} {speed:.1f}" for key, speed in model["cases_per_second"].items())
