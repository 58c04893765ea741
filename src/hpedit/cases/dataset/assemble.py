"""8-dataset: assemble a build's results for `write_dataset`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpedit.cases import stage_io, steps
from hpedit.cases.balance import Cell
from hpedit.cases.build_stages import Stage
from hpedit.cases.dataset.facts import Facts
from hpedit.cases.dataset.sheet import SheetRow, choose_sheet_cases
from hpedit.cases.dataset.write import decision_cells, write_dataset
from hpedit.cases.decisions import BALANCED, decision_of_row
from hpedit.cases.hardness import FilterDecision
from hpedit.cases.recipe import CasesRecipe
from hpedit.records import Case
from hpedit.store.atomic import read_json
from hpedit.store.parquet import check_parquet
from hpedit.store.tables import iter_cases, read_scores

LEFT_OUT = {
    "skipped": "picture that could not be used",
    "repeated": "id that was there already",
    "exact": "duplicate: equal pixels",
    "near": "near duplicate",
    "excluded": "held by an excluded benchmark",
}
"""Counts of 2-unique -> their names on the card; also keys of counts.json, so they stay."""


def assemble_dataset(out: Path, stages: Sequence[Stage], recipe: CasesRecipe) -> None:
    """Write dataset/ from the finished earlier stages."""
    counts = {stage.name: stage.counts() for stage in stages if stage.name != steps.DATASET}
    facts = Facts(
        total=counts[steps.FILTER]["kept"],
        stages=_stages(counts),
        distributions=_distributions(out),
        decisions=counts[steps.FILTER]["fates"] if recipe.filter.by != "none" else {},
        left_out=_left_out(counts),
        fingerprints=_fingerprints(out, stages),
    )
    dropped = _dropped(out, recipe.filter.sheet) if recipe.filter.by != "none" else ()
    write_dataset(out / "dataset", _kept(out), facts, recipe, dropped)


def _stages(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    unique, candidates, balance = counts[steps.UNIQUE], counts[steps.INSTRUCTIONS], counts[steps.BALANCE]
    found = {
        steps.PHOTOS: {"photos": unique["photos"], "skipped": unique.get("skipped", 0)},
        steps.UNIQUE: {"kept": unique["kept"], "dropped": unique["photos"] - unique["kept"]},
        steps.LABELS: dict(counts[steps.LABELS]),
        steps.INSTRUCTIONS: {"instructions": candidates["drafts"], "rejected": candidates["rejected"]},
        steps.BALANCE: {"candidates": balance["candidates"]},
    }
    found |= {name: dict(counts[name]) for name in (steps.EDITS, steps.SCORES) if counts[name]}
    return found | {steps.FILTER: {"kept": counts[steps.FILTER]["kept"]}}


def _left_out(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    found = {words: counts[steps.UNIQUE].get(name, 0) for name, words in LEFT_OUT.items()}
    found["instruction rejected"] = counts[steps.INSTRUCTIONS]["rejected"]
    balance = counts[steps.BALANCE]
    found["other wording of an instruction"] = counts[steps.INSTRUCTIONS]["drafts"] - balance["drafts"]
    found["instruction without room in the balance"] = balance["drafts"] - balance["candidates"]
    return {words: count for words, count in found.items() if count}


def _distributions(out: Path) -> dict[str, dict[Cell, int]]:
    balanced = read_json(out / steps.BALANCE / BALANCED)
    found = {
        label: {(task, category): n for task, row in balanced[name].items() for category, n in row.items()}
        for label, name in (("written", "before"), ("balanced", "after"))
    }
    kept: Counter[Cell] = Counter()
    for rows in stage_io.read_row_groups(out / steps.FILTER / steps.DECISIONS, ("task", "category", "kept")):
        kept.update((row["task"], row["category"] or "") for row in rows if row["kept"])
    return found | {"kept": dict(kept)}


def _fingerprints(out: Path, stages: Sequence[Stage]) -> dict[str, str]:
    """Fingerprints of editor and scorer from edits and scores, of other models from the build's inputs."""
    inputs = {name: value for stage in stages for name, value in stage.inputs.items()}
    found = {part: inputs[name] for part in ("labels", "instructions") if (name := f"{part}.model") in inputs}
    for part, folder, column in (("editor", steps.EDITS, "editor"), ("scorer", steps.SCORES, "scorer")):
        for file in stage_io.chunk_files(out / folder)[:1]:
            check_parquet(file)
            found[part] = pq.read_table(file, columns=[column])[column][0].as_py()
    return found


def _kept(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of the dataset, one file of candidate cases in memory at a time."""
    for number, rows in enumerate(stage_io.read_row_groups(out / steps.FILTER / steps.DECISIONS)):
        decisions = {row["case_id"]: decision_of_row(row) for row in rows if row["kept"]}
        if decisions:
            for row in stage_io.read_chunk(steps.candidates_file(out, number)):
                if row["id"] in decisions:
                    yield row | decision_cells(decisions[row["id"]])


def _dropped(out: Path, limit: int) -> Iterator[SheetRow]:
    """Dropped cases for the contact sheet, with edits and scores."""
    decisions: dict[str, FilterDecision] = {}
    tasks: dict[str, str] = {}
    where: dict[str, int] = {}
    for number, rows in enumerate(stage_io.read_row_groups(out / steps.FILTER / steps.DECISIONS)):
        for row in rows:
            if not row["kept"]:
                name = row["case_id"]
                decisions[name], tasks[name], where[name] = decision_of_row(row), row["task"], number
    for name in choose_sheet_cases(decisions, tasks, limit):
        yield _sheet_row(out, where[name], name, decisions[name])


def _sheet_row(out: Path, number: int, name: str, decision: FilterDecision) -> SheetRow:
    case: Case = next(case for case in iter_cases(steps.candidates_file(out, number)) if case.id == name)
    edits = steps.edits_by_case([case], stage_io.chunk_file(out / steps.EDITS, number))[0]
    values = {score.edit_id: score.value for score in read_scores(stage_io.chunk_file(out / steps.SCORES, number))}
    pictures = [edit.image for edit in edits]
    return SheetRow(
        name, case.task, case.instruction, case.source, pictures, [values.get(edit.id) for edit in edits], decision
    )
