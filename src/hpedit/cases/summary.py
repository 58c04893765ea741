"""Summaries of a finished build: counts for result.json, and every photograph or case left out, with the reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.cases import stage_io, steps
from hpedit.cases.build_stages import Stage
from hpedit.cases.decisions import pick_wordings, read_instructions
from hpedit.cases.hardness import DROPPED, KEPT
from hpedit.cases.instructions.templates import NEEDS_OBJECT
from hpedit.cases.recipe import CasesRecipe
from hpedit.store.atomic import replacing
from hpedit.tasks import TASK_IDS

SKIPPED_FILE, DROPPED_FILE = "skipped.jsonl", "dropped.jsonl"
NO_ROOM, OTHER_WORDING = "the target distribution has no room for it", "another wording of it was drawn"


WRITTEN_FOR = ("folder", "image_folder", "parquet", "webdataset")
"""Kinds of sources whose photographs come without instructions."""


def label_counts(out: Path) -> dict[str, int]:
    """Count the photographs with a category."""
    rows = (
        row for path in stage_io.chunk_files(out / steps.LABELS) for row in stage_io.read_chunk(path, ("category",))
    )
    return {"labelled": sum(bool(row["category"]) for row in rows)}


def instruction_counts(out: Path) -> dict[str, Any]:
    """Count the instruction candidates in all, by task, and the rejected ones."""
    tasks: Counter[str] = Counter()
    rejected = 0
    for path in stage_io.chunk_files(out / steps.INSTRUCTIONS):
        for candidate in stage_io.read_chunk(path, ("task", "reason")):
            if candidate["reason"] is None:
                tasks[candidate["task"]] += 1
            else:
                rejected += 1
    return {
        "drafts": tasks.total(),
        "rejected": rejected,
        "tasks": {task: tasks[task] for task in TASK_IDS if tasks[task]},
    }


def first_skipped(out: Path, most: int = 3) -> str:
    """How many items of the sources were skipped, and the first of them with their reasons; "" for none."""
    reasons = [row["reason"] for row in _skipped(out)]
    if not reasons:
        return ""
    more = f"; all of them are in {SKIPPED_FILE}" if len(reasons) > most else ""
    return f"skipped {len(reasons)} of the sources: {'; '.join(reasons[:most])}{more}"


def missing_tasks(recipe: CasesRecipe, out: Path, tasks: Mapping[str, int]) -> str:
    """Which of the wanted tasks got no instruction, and why, as a sentence; "" if none is missing.

    Args:
        recipe: Of the build.
        out: Its folder, where the photographs are labelled.
        tasks: Instructions of each task.
    """
    section = recipe.instructions
    written = any(source.kind in WRITTEN_FOR for source in recipe.sources)
    missing = [task for task in section.tasks if not tasks.get(task)]
    if section.by == "given" or not written or not missing:
        return ""
    names = ", ".join(missing)
    if section.by == "judge":
        return f"no instruction of {names}: {section.model} wrote none that was accepted"
    if not set(missing) & NEEDS_OBJECT:
        return f"no instruction of {names}: there are too few photographs, or instructions.per_photo is too small"
    known = label_counts(out)["labelled"]
    return (
        f"no instruction of {names}: templates need to know an object in the photograph, and "
        f"{'none has' if not known else f'only {known} have'} a label (labels.by: clip, judge or given; or "
        "instructions.by: judge)"
    )


def write_build_summary(out: Path, stages: Sequence[Stage], seed: int) -> dict[str, Any]:
    """Write skipped.jsonl and dropped.jsonl; returns the counts of all stages. `seed`: of the recipe."""
    counts = {stage.name: stage.counts() for stage in stages}
    unique, candidates = counts[steps.UNIQUE], counts[steps.INSTRUCTIONS]
    _write(out / SKIPPED_FILE, _skipped(out))
    _write(out / DROPPED_FILE, _dropped(out, seed))
    return {
        "photos": unique["photos"],
        "skipped": unique.get("skipped", 0),
        "duplicates": {kind: unique.get(kind, 0) for kind in ("exact", "near")},
        "excluded": unique.get("excluded", 0),
        "drafts": candidates["drafts"],
        "rejected": candidates["rejected"],
        "candidates": counts[steps.BALANCE]["candidates"],
        "kept": counts[steps.FILTER]["kept"],
        "tasks": _tasks(counts[steps.FILTER]["fates"]),
        "stages": counts,
    }


def _tasks(decisions: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Candidate cases of each task, how many were kept, and the others by reason."""
    return {
        task: {"candidates": sum(row.values()), "kept": sum(n for reason, n in row.items() if reason in KEPT)}
        | {reason: n for reason, n in row.items() if reason in DROPPED}
        for task, row in decisions.items()
    }


def _write(path: Path, records: Iterator[Mapping[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _skipped(out: Path) -> Iterator[dict[str, Any]]:
    for path in stage_io.chunk_files(out / steps.PHOTOS):
        for row in stage_io.read_chunk(path, ("id", "reason")):
            if row["reason"] is not None:
                yield {"id": row["id"], "reason": row["reason"]}


def _dropped(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Every usable photograph, instruction or case that is not in the dataset, with stage and reason."""
    yield from _dropped_photos(out)
    yield from _rejected_instructions(out)
    yield from _unbalanced_instructions(out, seed)
    for rows in stage_io.read_row_groups(out / steps.FILTER / steps.DECISIONS):
        for row in rows:
            if not row["kept"]:
                yield {"stage": steps.FILTER, "id": row["case_id"], "task": row["task"], "reason": row["reason"]}


def _dropped_photos(out: Path) -> Iterator[dict[str, Any]]:
    for rows in stage_io.read_row_groups(out / steps.UNIQUE / steps.INDEX):
        for row in rows:
            if not row["kept"]:
                yield {"stage": steps.UNIQUE, "id": row["id"], "reason": row["reason"]}


def _rejected_instructions(out: Path) -> Iterator[dict[str, Any]]:
    for names, candidates in read_instructions(out):
        for candidate in candidates:
            if candidate["reason"] is not None:
                told = {"instruction": candidate["instruction"], "reason": candidate["reason"]}
                yield {"stage": steps.INSTRUCTIONS, "id": names[candidate["row"]], **told}


def _unbalanced_instructions(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    taken: set[tuple[int, int, int]] = set()
    for rows in stage_io.read_row_groups(out / steps.BALANCE / steps.CHOSEN, ("part", "row", "number")):
        taken.update((row["part"], row["row"], row["number"]) for row in rows)
    for part, (names, candidates) in enumerate(read_instructions(out)):
        drawn = {(candidate["row"], candidate["number"]) for candidate in pick_wordings(candidates, names, seed)}
        for candidate in candidates:
            place = (candidate["row"], candidate["number"])
            if candidate["reason"] is None and (part, *place) not in taken:
                told = {
                    "id": names[candidate["row"]],
                    "task": candidate["task"],
                    "instruction": candidate["instruction"],
                }
                yield {"stage": steps.BALANCE, **told, "reason": NO_ROOM if place in drawn else OTHER_WORDING}
