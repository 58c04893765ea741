"""From a record of whole groups to what its page shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from hpedit.report.charts import signed
from hpedit.report.report_views import page_safe, shortened, task_name
from hpedit.rl.monitor.group_log import GroupRow

View = dict[str, Any]


def group_views(groups: Sequence[Sequence[GroupRow]]) -> list[View]:
    """The groups of one record as cards, each group's edits from the highest advantage to the lowest."""
    return [_group(rows) for rows in groups]


def _group(rows: Sequence[GroupRow]) -> View:
    first = rows[0]
    ordered = sorted(rows, key=lambda row: (-row.advantage, row.id))
    values = [value for row in rows if (value := _main(row).get("value")) is not None]
    spread = f"{min(values):.2f}\N{EN DASH}{max(values):.2f}" if values else "none scored"
    return {
        "id": page_safe(first.case_id),
        "task": task_name(first.task),
        "instruction": shortened(first.instruction),
        "sources": [_uri(data) for data in first.sources],
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
        "image": _uri(row.image),
        "score": "unscorable" if value is None else f"{value:.2f}",
        "std": "" if spread is None else f"\N{PLUS-MINUS SIGN}{spread:.2f}",
        "reason": page_safe(main.get("reason") or ""),
        "advantage": signed(row.advantage) if row.state == "used" else row.state,
        "tone": "" if row.state != "used" or abs(row.advantage) < 0.005 else "good" if row.advantage > 0 else "bad",
        "others": [(page_safe(name), _number(one)) for name, one in others.items()],
        "answers": {question: _number(answer) for question, answer in main.get("raw", {}).items()},
    }


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.2f}"


def _main(row: GroupRow) -> Mapping[str, Any]:
    return next(iter(row.scores.values()), {})


def _uri(data: bytes) -> View:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    with Image.open(io.BytesIO(data)) as picture:
        pixelated = max(picture.size) <= 128
    return {"uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}", "pixelated": pixelated}
