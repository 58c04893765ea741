"""What a finished build says of itself: result.json, skipped.jsonl, dropped.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.cases import parts, steps
from hpedit.cases.decisions import one_wording
from hpedit.cases.hardness import DROPPED, KEPT
from hpedit.cases.stages import Stage
from hpedit.store.atomic import replacing
from hpedit.tasks import TASK_IDS

SKIPPED_FILE, DROPPED_FILE = "skipped.jsonl", "dropped.jsonl"
NO_ROOM, OTHER_WORDING = "the target distribution has no room for it", "another wording of it was drawn"


def label_counts(out: Path) -> dict[str, int]:
    """Photographs with a category."""
    rows = (row for path in parts.part_files(out / steps.LABELS) for row in parts.read_rows(path, ("category",)))
    return {"labelled": sum(bool(row["category"]) for row in rows)}


def draft_counts(out: Path) -> dict[str, Any]:
    """Usable instructions in all and by task, and how many were rejected."""
    tasks: Counter[str] = Counter()
    rejected = 0
    for path in parts.part_files(out / steps.DRAFTS):
        for draft in parts.read_rows(path, ("task", "reason")):
            if draft["reason"] is None:
                tasks[draft["task"]] += 1
            else:
                rejected += 1
    return {
        "drafts": tasks.total(),
        "rejected": rejected,
        "tasks": {task: tasks[task] for task in TASK_IDS if tasks[task]},
    }


def write_outcome(out: Path, stages: Sequence[Stage], seed: int) -> dict[str, Any]:
    """Write skipped.jsonl and dropped.jsonl; returns the counts of all stages for result.json. `seed`: the recipe's."""
    counts = {stage.name: stage.counts() for stage in stages}
    unique, drafts = counts[steps.UNIQUE], counts[steps.DRAFTS]
    _write(out / SKIPPED_FILE, _skipped(out))
    _write(out / DROPPED_FILE, _dropped(out, seed))
    return {
        "photos": unique["photos"],
        "skipped": unique.get("skipped", 0),
        "duplicates": {kind: unique.get(kind, 0) for kind in ("exact", "near")},
        "excluded": unique.get("excluded", 0),
        "drafts": drafts["drafts"],
        "rejected": drafts["rejected"],
        "candidates": counts[steps.BALANCE]["candidates"],
        "kept": counts[steps.FILTER]["kept"],
        "tasks": _tasks(counts[steps.FILTER]["fates"]),
        "stages": counts,
    }


def _tasks(fates: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Candidates of each task, how many were kept, and the others by reason."""
    return {
        task: {"candidates": sum(row.values()), "kept": sum(n for reason, n in row.items() if reason in KEPT)}
        | {reason: n for reason, n in row.items() if reason in DROPPED}
        for task, row in fates.items()
    }


def _write(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _skipped(out: Path) -> Iterator[dict[str, Any]]:
    for path in parts.part_files(out / steps.PHOTOS):
        for row in parts.read_rows(path, ("id", "reason")):
            if row["reason"] is not None:
                yield {"id": row["id"], "reason": row["reason"]}


def _dropped(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Everything that was usable once and is no case now, with stage and reason, stage by stage."""
    yield from _dropped_photos(out)
    yield from _rejected_drafts(out)
    yield from _unbalanced_drafts(out, seed)
    for rows in parts.read_groups(out / steps.FILTER / steps.FATES):
        for row in rows:
            if not row["kept"]:
                yield {"stage": steps.FILTER, "id": row["case_id"], "task": row["task"], "reason": row["reason"]}


def _dropped_photos(out: Path) -> Iterator[dict[str, Any]]:
    for rows in parts.read_groups(out / steps.UNIQUE / steps.INDEX):
        for row in rows:
            if not row["kept"]:
                yield {"stage": steps.UNIQUE, "id": row["id"], "reason": row["reason"]}


def _rejected_drafts(out: Path) -> Iterator[dict[str, Any]]:
    for names, drafts in _drafts(out):
        for draft in drafts:
            if draft["reason"] is not None:
                yield {
                    "stage": steps.DRAFTS,
                    "id": names[draft["row"]],
                    "instruction": draft["instruction"],
                    "reason": draft["reason"],
                }


def _unbalanced_drafts(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    taken: set[tuple[int, int, int]] = set()
    for rows in parts.read_groups(out / steps.BALANCE / steps.CHOSEN, ("part", "row", "number")):
        taken.update((row["part"], row["row"], row["number"]) for row in rows)
    for part, (names, drafts) in enumerate(_drafts(out)):
        drawn = {(draft["row"], draft["number"]) for draft in one_wording(drafts, names, seed)}
        for draft in drafts:
            place = (draft["row"], draft["number"])
            if draft["reason"] is None and (part, *place) not in taken:
                yield {
                    "stage": steps.BALANCE,
                    "id": names[draft["row"]],
                    "task": draft["task"],
                    "instruction": draft["instruction"],
                    "reason": NO_ROOM if place in drawn else OTHER_WORDING,
                }


def _drafts(out: Path) -> Iterator[tuple[dict[int, str], list[parts.Row]]]:
    """Of each file of photographs: their ids by row, and their drafts."""
    for part, photos in enumerate(parts.read_groups(out / steps.UNIQUE / steps.INDEX, ("row", "id"))):
        yield {photo["row"]: photo["id"] for photo in photos}, parts.read_rows(parts.numbered(out / steps.DRAFTS, part))
