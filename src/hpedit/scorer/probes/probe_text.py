"""Plain-text report of a probe, 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hpedit.tasks import TASK_IDS

_COLUMN = {task: task[:5] for task in TASK_IDS} | {"relighting": "light", "background": "backg"}
Row = Mapping[str, Any]


def probe_lines(probe: Row) -> Iterator[str]:
    """Render the report of `probe_files` as lines: by kind, by kind and task, order swap, verdict."""
    yield from _by_kind(probe)
    yield ""
    yield from _by_task(probe)
    yield ""
    yield from _notes(probe)
    yield from _order_swap(probe["order_swap"])
    yield from _verdict(probe)


def _by_kind(probe: Row) -> Iterator[str]:
    yield f"{'kind':26}{'n':>5} {'not below, % (95 %)':>22} {'mean drop (95 %)':>25}"
    for row in probe["kinds"].values():
        drop = _interval(row["drop"], 1, "{:.2f}")
        yield f"{row['words']:26}{row['n']:>5} {_interval(row['share'], 100, '{:.0f}'):>22} {drop:>25}"
    overall = probe["overall"]
    yield f"{'all':26}{overall['n']:>5} {_interval(overall['share'], 100, '{:.1f}'):>22}"


def _by_task(probe: Row) -> Iterator[str]:
    tasks = list(probe["tasks"])
    yield f"{'not below, %':26}" + "".join(f"{_COLUMN[task]:>6}" for task in tasks)
    for row in probe["kinds"].values():
        cells = [row["tasks"].get(task) for task in tasks]
        yield f"{row['words']:26}" + "".join(f"{'-' if c is None else round(100 * c['share']):>6}" for c in cells)
    yield f"{'all':26}" + "".join(f"{100 * probe['tasks'][task]['share']['value']:>6.0f}" for task in tasks)


def _notes(probe: Row) -> Iterator[str]:
    nobody = probe["rated_by"] == "nobody"
    honest = "taken as honest without ratings" if nobody else f"rated 3 or more by {probe['rated_by']}"
    yield f"{probe['edits']} edits {honest}; {probe['unscorable']} more are unscorable and left out"
    unscorable = sum(row["unscorable"] for row in probe["kinds"].values())
    left_out = sum(row["left_out"] for row in probe["kinds"].values())
    yield f"of their versions {unscorable} are unscorable, counted as below; {left_out} would show nothing"
    yield "- where a version is not tried: the task may ask for it, or nothing would show"


def _order_swap(swap: Row) -> Iterator[str]:
    if not swap["defined"]:
        yield from textwrap.wrap(f"order swap: not defined, {swap['reason']}", 80, subsequent_indent="  ")
        return
    if swap["within"] is None:
        yield "order swap: n/a, no pair of edits is told apart"
        return
    flip, apart = _interval(swap["flip_rate"], 100, "{:.0f}"), _interval(swap["difference"], 1, "{:.2f}")
    yield f"edit shown first: {flip} % of {swap['pairs']} pairs of {swap['pairs_of']} flip,"
    yield f"  scores differ by {apart} points"
    if not swap["within"]:
        yield f"  WARNING: more than {swap['max_flip']:.0%} flip, the place of a picture moves this judge"


def _verdict(probe: Row) -> Iterator[str]:
    if probe["passed"]:
        yield "passed: it may be a reward"
        return
    yield "refused as a reward:"
    for reason in probe["reasons"]:
        yield from textwrap.wrap(reason, 80, initial_indent="  ", subsequent_indent="    ")


def _interval(estimate: Row, scale: float, form: str) -> str:
    """A value with its interval, n/a where undefined."""
    if estimate["value"] is None:
        return "n/a"
    low, high = estimate["ci95"]
    value = form.format(scale * estimate["value"])
    return value if low is None else f"{value} ({form.format(scale * low)} to {form.format(scale * high)})"
