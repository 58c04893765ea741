"""The pictures of a comparison's page: which cases are shown, and every model's edit of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hpedit.bench.folder import BenchFolder
from hpedit.records import Case
from hpedit.report.selection import data_uri, is_pixelated

PER_GROUP = 6
RANDOM_COUNT = 6


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture inside the page."""

    uri: str
    pixelated: bool

    @classmethod
    def of(cls, image: Image.Image) -> Frame:
        """Embed a picture; large ones are reduced."""
        return cls(data_uri(image), is_pixelated(image))


@dataclass(frozen=True, slots=True)
class BenchPicture:
    """One case with every model's edit and scores."""

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


@dataclass(frozen=True, slots=True)
class _Scored:
    case: Case
    values: Mapping[str, float | None]
    """By label: what the cases are ordered by."""


def collect_bench_pictures(
    cases: Sequence[Case], folders: Sequence[BenchFolder], human: Mapping[str, float]
) -> list[BenchPicture]:
    """The cases that are shown: largest losses against the reference, lowest results, largest gains, a random sample.

    They are ordered by the oracle where it knows all of them, else by people, else by HP-Scorer, else by another judge.
    """
    scores = _scores(folders, human)
    order = next((name for name in ("Oracle", "People", "HP-Scorer") if name in scores), next(iter(scores), None))
    labels = [folder.label for folder in folders]
    scored = [
        _Scored(case, {label: scores[order][label].get(case.id) for label in labels} if order else {}) for case in cases
    ]
    groups = _groups(scored, labels[0])
    chosen = {one.case.id: (group, one.case) for group, found in groups for one in found}
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


def _scores(folders: Sequence[BenchFolder], human: Mapping[str, float]) -> dict[str, dict[str, dict[str, Any]]]:
    """Instrument -> label -> case id -> score; an instrument that scored nothing is left out."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in folders:
        rows = [row for row in folder.rows() if not row.missing]
        case_of = {row.edit_id: row.case_id for row in rows}
        found.setdefault("Oracle", {})[folder.label] = {row.case_id: row.oracle for row in rows}
        found.setdefault("People", {})[folder.label] = {row.case_id: human.get(row.edit_id) for row in rows}
        for one in folder.instruments():
            title = "HP-Scorer" if one.role == "scorer" else f"Second judge ({one.name})"
            lines = folder.scores(one).items()
            found.setdefault(title, {})[folder.label] = {case_of[edit]: line["score"] for edit, line in lines}
    labels = {folder.label for folder in folders}
    return {
        name: table
        for name, table in found.items()
        if table.keys() == labels and any(value is not None for scores in table.values() for value in scores.values())
    }


def _groups(scored: Sequence[_Scored], reference: str) -> list[tuple[str, list[_Scored]]]:
    taken: set[str] = set()

    def take(ordered: Sequence[_Scored], count: int) -> list[_Scored]:
        chosen = [one for one in ordered if one.case.id not in taken][:count]
        taken.update(one.case.id for one in chosen)
        return chosen

    changes = [(change, one) for one in scored if (change := _changes(one, reference))]
    lowest = [(min(known), one) for one in scored if (known := [v for v in one.values.values() if v is not None])]
    losses = take(_sorted([(min(change), one) for change, one in changes if min(change) < 0]), PER_GROUP)
    low = take(_sorted([(value, one) for value, one in lowest if value <= 2]), PER_GROUP)
    gains = take(_sorted([(-max(change), one) for change, one in changes if max(change) > 0]), PER_GROUP)
    rest = take(sorted(scored, key=lambda one: hashlib.sha256(one.case.id.encode()).digest()), RANDOM_COUNT)
    groups = (
        ("Largest losses", losses), ("Lowest results", low), ("Largest gains", gains), ("Random sample", rest)
    )  # fmt: skip
    return [(name, found) for name, found in groups if found]


def _changes(one: _Scored, reference: str) -> list[float]:
    """Differences of the other models to the reference, as far as they are known."""
    base = one.values.get(reference)
    if base is None:
        return []
    return [value - base for label, value in one.values.items() if label != reference and value is not None]


def _sorted(pairs: Sequence[tuple[float, _Scored]]) -> list[_Scored]:
    return [one for _, one in sorted(pairs, key=lambda pair: (pair[0], pair[1].case.id))]
