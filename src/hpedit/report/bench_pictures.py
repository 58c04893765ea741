"""The pictures of a comparison's page: which cases are shown, and every model's edit of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hpedit.bench.bench_folder import BenchFolder
from hpedit.records import Case
from hpedit.report.picture_selection import data_uri, is_pixelated

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
    cases: Sequence[Case],
    folders: Sequence[BenchFolder],
    instruments: Sequence[Mapping[str, Any]],
    human: Mapping[str, float],
) -> list[BenchPicture]:
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
