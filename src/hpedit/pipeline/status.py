"""How far a run is, as `hpedit status` prints it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from hpedit.pipeline.state import at_work, read_state
from hpedit.progress import format_clock

NEXT = {
    "failed": "correct what the stage says and give the same command again",
    "stopped": "give the same command again: it continues",
    "done": "open report.html in the run's folder",
    "running": "index.html in the run's folder shows it live",
}


def run_status(folder: Path) -> dict[str, Any]:
    """How far each stage of a run is.

    Returns:
        "run", "phase" (running, done, failed or stopped), "stages" (name, phase, seconds, done, total, doing, note,
        eta) and "next", what to do.

    Raises:
        HPEditError: the folder is none of `hpedit run`.
    """
    stages, working = read_state(folder), at_work(folder)
    for one in stages:
        if one["phase"] == "running" and not working:
            # The process was killed: it could not write that it stopped.
            one["phase"] = "stopped"
    phases = {one["phase"] for one in stages}
    if working:
        phase = "running"
    elif phases == {"done"}:
        phase = "done"
    else:
        phase = "failed" if "failed" in phases else "stopped"
    return {"run": str(folder), "phase": phase, "stages": stages, "next": NEXT[phase]}


def status_lines(status: dict[str, Any]) -> list[str]:
    """The status as lines of at most 80 columns."""
    lines = [f"{status['run']}: {status['phase']}", ""]
    for one in status["stages"]:
        first, *more = textwrap.wrap(_what(one), 46) or [""]
        spent = format_clock(one["seconds"]) if one["seconds"] else ""
        lines.append(f"  {one['name']:<11}{one['phase']:<9}{spent:>8}  {first}".rstrip())
        lines += [" " * 32 + line for line in more]
    return [*lines, "", f"next: {status['next']}"]


def _what(one: dict[str, Any]) -> str:
    if one["phase"] == "running" and one["doing"]:
        count = f" {one['done']}/{one['total']}" if one["total"] else ""
        eta = f", ETA {format_clock(one['eta'])}" if one["eta"] else ""
        return f"{one['doing']}{count}{eta}"
    return str(one["note"])
