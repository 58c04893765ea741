"""Plain-text report on combined voting judges, 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from hpedit.ratings.agreement_text import WIDTH
from hpedit.ratings.responses import VOTES
from hpedit.stats.intervals import interval_text


def render_votes(report: Mapping[str, Any]) -> str:
    """Render a report of `evaluate_votes` as text."""
    single, best = report["best_single"], report["best_in_hindsight"]
    parts = (("decided", "  people chose A or B"), ("tie", "  people called it a tie"), ("both_bad", "  both bad"))
    lines = [
        f"{report['pairs']} pairs of {report['sources']} sources, each predicted from the other folds' sources",
        "intervals: 95 %, resampling sources",
        "",
        _row("", "combined", "best single, chosen"),
        _row("4-way accuracy", interval_text(report["accuracy"]), interval_text(single["accuracy"])),
    ]
    for name, label in parts:
        own = report["by_answer"][name]
        lines.append(_row(f"{label} ({own['n']})", interval_text(own), interval_text(single["by_answer"][name])))
    lines += [
        _row(
            f"better edit found ({report['direction']['n']})",
            interval_text(report["direction"]),
            interval_text(single["direction"]),
        ),
        f"more than the best single chosen in the folds: {interval_text(single['gain'])} on {single['votes']} pairs",
        f"more than the best in hindsight ({best['judge']}): {interval_text(best['gain'])} on {best['votes']} pairs",
        "",
        f"{'people, then predicted':24}" + "".join(f"{vote:>10}" for vote in VOTES),
        *(f"{given:>24}" + "".join(f"{row[vote]:>10}" for vote in VOTES) for given, row in report["confusion"].items()),
        "",
        f"{'judge':26}{'votes':>6}{'accuracy':>22}{'combined there':>15}{'weight':>10}",
    ]
    for name, judge in report["judges"].items():
        lines += _judge(name, judge)
    left_out = [f"{count} {reason.replace('_', ' ')}" for reason, count in report["left_out"].items() if count]
    lines += ["", *(wrap("left out: " + ", ".join(left_out), WIDTH) if left_out else [])]
    if report["cycles"]:
        lines.append(f"people prefer {report['cycles']} triples of edits in a circle")
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _judge(name: str, judge: Mapping[str, Any]) -> list[str]:
    there = judge["combined"]["value"]
    line = f"{name[:25]:26}{judge['votes']:>6}{interval_text(judge['accuracy']):>22}"
    line += f"{'n/a' if there is None else f'{there:.2f}':>15}{judge['weight']:>10.2f}"
    note = f"no signal: {judge['reason']}" if judge["reason"] else ""
    shown = judge["first_shown"]
    if shown is not None and abs(shown - 0.5) > 0.4:
        note += f"; {shown:.0%} of its choices are the edit shown first"
    return [line, *wrap(note.removeprefix("; "), WIDTH, initial_indent="  ", subsequent_indent="    ")]


def _row(label: str, first: str, second: str) -> str:
    return f"{label:32}{first:>24}{second:>24}"
