"""The pictures of a comparison's page: the cases shown, with every model's edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpedit.bench.bench_folder import BenchFolder
from hpedit.records import Case
from hpedit.report.picture_selection import CaseOutcome, Frame, extreme_cases

PER_GROUP = 6
RANDOM_COUNT = 6


@dataclass(frozen=True, slots=True)
class BenchPicture:
    """One case of a comparison's page with every model's edit and scores."""

    group: str
    case_id: str
    task: str
    instruction: str
    source: Frame
    edits: Mapping[str, Frame | None]
    """By label; None where a model has no edit."""
    scores: Mapping[str, Mapping[str, float | None]]
    """Instrument title -> label -> score."""
    target: Frame | None = None


def collect_bench_pictures(
    cases: Sequence[Case], folders: Sequence[BenchFolder], instruments: Sequence[Mapping[str, Any]],
    human: Mapping[str, float],
) -> list[BenchPicture]:  # fmt: skip
    """The cases that are shown: largest losses against the reference, lowest results, largest gains, a random sample.

    Args:
        cases: The benchmark.
        folders: The models, the reference first.
        instruments: Of their comparison. The cases are ordered by the oracle if it is among them, else by people, else
            by HP-Scorer, else by another judge.
        human: People's mean scores by edit id.
    """
    scores = {str(one["title"]): _scores(one, folders, human) for one in instruments}
    places = {key: place for place, key in enumerate(("oracle", "human", "scorer"))}
    order = min(instruments, key=lambda one: places.get(one["key"], len(places)))["title"] if instruments else None
    labels = [folder.label for folder in folders]
    ordered = [{label: scores[order][label].get(case.id) for label in labels} if order else {} for case in cases]
    outcomes = [_outcome(case.id, values, labels[0]) for case, values in zip(cases, ordered, strict=True)]
    groups = extreme_cases(cases, outcomes, PER_GROUP, RANDOM_COUNT)
    chosen = {case.id: (title, case) for title, found in groups.items() for case in found}
    edits = {
        folder.label: {edit.case_id: Frame.of(edit.image) for edit in folder.edits() if edit.case_id in chosen}
        for folder in folders
    }
    return [
        BenchPicture(
            group=group,
            case_id=case.id,
            task=case.task,
            instruction=case.instruction,
            source=Frame.of(case.source),
            edits={label: edits[label].get(case.id) for label in labels},
            scores={
                name: {label: table[label].get(case.id) for label in labels}
                for name, table in scores.items()
                if any(table[label].get(case.id) is not None for label in labels)
            },
            target=Frame.of(case.oracle.target) if case.oracle else None,
        )
        for group, case in chosen.values()
    ]


def _scores(
    one: Mapping[str, Any], folders: Sequence[BenchFolder], human: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Label -> case id -> score by one instrument of the comparison."""
    found: dict[str, dict[str, float | None]] = {}
    for folder in folders:
        rows = [row for row in folder.rows() if not row.missing]
        if one["key"] == "oracle":
            found[folder.label] = {row.case_id: row.oracle for row in rows}
        elif one["key"] == "human":
            found[folder.label] = {row.case_id: human.get(row.edit_id) for row in rows}
        else:
            mine = next(each for each in folder.instruments() if each.fingerprint == one["fingerprint"])
            scores = folder.scores(mine)
            found[folder.label] = {row.case_id: scores[row.edit_id]["score"] for row in rows}
    return found


def _outcome(case_id: str, values: Mapping[str, float | None], reference: str) -> CaseOutcome:
    base, known = values.get(reference), {label: value for label, value in values.items() if value is not None}
    changes = [value - base for label, value in known.items() if label != reference] if base is not None else []
    return CaseOutcome(case_id, changes, min(known.values(), default=None))
