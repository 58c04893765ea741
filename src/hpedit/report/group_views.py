"""Template values of a page of recorded rollout groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpedit.bench.figure_text import task_title
from hpedit.report.picture_selection import Frame
from hpedit.report.report_views import score_text, shortened
from hpedit.rl.monitor.group_log import GroupRow
from hpedit.stats.intervals import PAGE_GAIN, number_text

View = dict[str, Any]


def group_views(groups: Sequence[Sequence[GroupRow]]) -> list[View]:
    """The rollout groups of one record as cards, each with its edits sorted by advantage."""
    return [_group(rows) for rows in groups]


def _group(rows: Sequence[GroupRow]) -> View:
    first = rows[0]
    ordered = sorted(rows, key=lambda row: (-row.advantage, row.id))
    values = [value for row in rows if (value := _main(row).get("value")) is not None]
    spread = f"{min(values):.2f}\N{EN DASH}{max(values):.2f}" if values else "none scored"
    return {
        "id": first.case_id,
        "task": task_title(first.task),
        "instruction": shortened(first.instruction),
        "sources": [Frame.of_file(data) for data in first.sources],
        "spread": spread,
        "state": "" if any(row.state == "used" for row in rows) else first.state,
        "edits": [_edit(row, number + 1) for number, row in enumerate(ordered)],
        "questions": sorted({question for row in rows for question in _main(row).get("raw", {})}),
    }


def _edit(row: GroupRow, number: int) -> View:
    main = _main(row)
    value, spread = main.get("value"), main.get("std")
    others = {name: one.get("value") for name, one in list(row.scores.items())[1:]}
    return {
        "number": number,
        "image": Frame.of_file(row.image),
        "score": "unscorable" if value is None else f"{value:.2f}",
        "std": "" if spread is None else f"\N{PLUS-MINUS SIGN}{spread:.2f}",
        "reason": main.get("reason") or "",
        "advantage": number_text(row.advantage, PAGE_GAIN) if row.state == "used" else row.state,
        "tone": "" if row.state != "used" or abs(row.advantage) < 0.005 else "good" if row.advantage > 0 else "bad",
        "others": [(name, score_text(one)) for name, one in others.items()],
        "answers": {question: score_text(answer) for question, answer in main.get("raw", {}).items()},
    }


def _main(row: GroupRow) -> Mapping[str, Any]:
    return next(iter(row.scores.values()), {})
