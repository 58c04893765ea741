"""A real store of ratings, filled row by row without the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpedit.ratings.store import RatingStore, dump_value, utc_now


def answer(
    path: Path,
    rater: str,
    edits: tuple[str, ...],
    value: float | str,
    *,
    client_id: str,
    phase: str = "rate",
    expected: float | str | None = None,
    ms: int = 4000,
    source: str = "photo",
) -> None:
    """Store one answer of one rater to a new assignment."""
    kind = "score" if len(edits) == 1 else "compare"
    item = "+".join(sorted(edits))
    description = {"edit_ids": list(edits), "source_id": source, "case_id": "c", "task": "color", "instruction": "=red"}
    with RatingStore.hold(path) as store, store.transaction() as db:
        who = (rater.lower(), rater, utc_now())
        db.execute("INSERT OR IGNORE INTO raters (key, name, time) VALUES (?, ?, ?)", who)
        number = db.execute("SELECT id FROM raters WHERE name = ?", (rater,)).fetchone()[0]
        db.execute("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?)", (item, kind, "hash", json.dumps(description)))
        row: dict[str, Any] = {"opaque": client_id, "rater": number, "item": item, "kind": kind, "phase": phase}
        row |= {"edit_ids": json.dumps(edits), "case_id": "c", "task": "color", "expected": dump_value(expected)}
        row["time"] = utc_now()
        shown = _insert(db, "assignments", row)
        change = {"client_id": client_id, "rater": number, "assignment": shown, "value": dump_value(value), "ms": ms}
        _insert(db, "changes", change | {"time": utc_now()})


def undo(path: Path, client_id: str) -> None:
    """Take one answer back."""
    with RatingStore.hold(path) as store, store.transaction() as db:
        old = db.execute("SELECT * FROM changes WHERE client_id = ?", (client_id,)).fetchone()
        row = {"client_id": f"undo-{client_id}", "rater": old["rater"], "assignment": old["assignment"]}
        _insert(db, "changes", row | {"supersedes": old["id"], "time": utc_now()})


def _insert(db: Any, table: str, row: dict[str, Any]) -> int:
    marks = ", ".join("?" * len(row))
    return int(db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())).lastrowid)
