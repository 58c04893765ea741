"""Figures of a comparison as text, the same in every table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpedit.tasks import TASK_BY_ID

NONE = "-"
SIGNIFICANT = 0.05
"""Holm-corrected p below it gets a star."""

Figures = Mapping[str, Any]


def task_title(task: str) -> str:
    """A task's name for people."""
    return TASK_BY_ID[task].name if task in TASK_BY_ID else task


def mean_text(model: Figures | None) -> str:
    """A mean of 0-5 with two digits."""
    return NONE if not model or model["mean"] is None else f"{model['mean']:.2f}"


def gain_number(value: float) -> str:
    """A difference with its sign; what rounds to nothing has none."""
    return f"{value:+.2f}" if round(value, 2) else "0.00"


def bounds_text(estimate: Figures | None, between: str = " to ", sign: bool = False) -> str:
    """The 95 % interval, or a dash."""
    low, high = (estimate or {}).get("ci95") or (None, None)
    if low is None or high is None:
        return NONE
    return f"{gain_number(low)}{between}{gain_number(high)}" if sign else f"{low:.2f}{between}{high:.2f}"


def gain_text(model: Figures | None) -> str:
    """The paired difference to the reference, signed; a dash for the reference itself."""
    value = ((model or {}).get("gain") or {}).get("mean")
    return NONE if value is None else gain_number(value)


def p_value_text(p: float | None) -> str:
    """A p value with as many digits as mean something."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def holm_star(model: Figures | None) -> str:
    """A star where a task's difference holds after the correction."""
    p = (model or {}).get("p_holm")
    return "*" if p is not None and p < SIGNIFICANT else ""


def share_text(value: float | None) -> str:
    """A share as whole per cent."""
    return NONE if value is None else f"{value:.0%}"


def win_tie_loss_text(model: Figures | None, between: str = "/") -> str:
    """Cases that were won, tied, lost."""
    counts = (model or {}).get("win_tie_loss")
    return NONE if not counts else between.join(str(counts[key]) for key in ("win", "tie", "loss"))


def counted(number: int, what: str) -> str:
    """A number of things, in the plural where there is not just one."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def sentence(text: str) -> str:
    """The text with a capital at its beginning; names within it stay as they are."""
    return text[:1].upper() + text[1:]


def size_line(result: Figures) -> str:
    """How much was measured."""
    tasks = counted(len(result["tasks"]), "task")
    return f"{counted(result['n'], 'case')} of {counted(result['sources'], 'photo')}, {tasks}"


def left_out_line(one: Figures) -> str:
    """What an instrument could not score; empty where it scored all."""
    if not one["left_out"]:
        return ""
    counts = ", ".join(f"{count} of {name}" for name, count in one["unscorable"].items() if count)
    return f"left out for every model: {counted(one['left_out'], 'case')} (without a score: {counts})"


def speed_line(model: Figures) -> str:
    """Cases a second of each stage."""
    names = {"edit": "edit", "measure": "measure", "scorer": "score", "second": "second judge"}
    parts = [f"{names.get(key, key)} {speed:.1f}" for key, speed in model["cases_per_second"].items()]
    return ", ".join(parts)
