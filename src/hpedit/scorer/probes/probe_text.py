"""Plain-text report of a probe, 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hpedit.stats.intervals import UNDEFINED, Interval, interval_text
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
        drop = interval_text(row["drop"])
        yield f"{row['words']:26}{row['n']:>5} {_percent(row['share']):>22} {drop:>25}"
    overall = probe["overall"]
    yield f"{'all':26}{overall['n']:>5} {_percent(overall['share'], 1):>22}"


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
    flip, apart = _percent(swap["flip_rate"]), interval_text(swap["difference"])
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


def _percent(estimate: Row, digits: int = 0) -> str:
    """A share in per cent with its interval."""
    interval = Interval.read(estimate)
    return UNDEFINED if interval is None else interval.scaled(100).text(digits=digits)
