"""What a build decides about all its photographs, drafts and cases at once, from a thin index without a pixel.

`decide_unique` (2-unique), `decide_balance` (5-balance) and `decide_fates` (7-filter) read the files of the stages
before, write one file each, and return counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpedit.cases import parts
from hpedit.cases.balance import Cell, Pool, choose, table_of
from hpedit.cases.duplicates import Duplicate, find_duplicates
from hpedit.cases.exclusion import Exclusion
from hpedit.cases.hardness import DROPPED, KEPT, Fate, decide
from hpedit.cases.recipe import BalanceSection, FilterSection
from hpedit.cases.steps import BALANCE, CHOSEN, DRAFTS, FATES, FILTER, INDEX, PHOTOS, SCORES, UNIQUE, candidates_file
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.tables import read_scores
from hpedit.tasks import TASK_IDS

BALANCED = "balance.json"
MAX_ID = 150
"""Characters of a made id: it names files, whose names may have 255 bytes."""

FATE = {
    "case_id": parts.TEXT,
    "task": parts.TEXT,
    "category": parts.TEXT,
    "kept": parts.YES,
    "reason": parts.TEXT,
    "mean": pa.float64(),
    "std": pa.float64(),
    "unscorable": parts.NUMBER,
}
"""Columns of 7-filter/fates.parquet; row group n is of candidates/part-n."""


@dataclass(slots=True)
class _Photos:
    """The index of 2-unique: what is compared of each photograph."""

    shas: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    """Id of a photograph (a ready case has none here) -> its source_id."""
    sayings: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Id -> hashes of the instructions that came with it, where any did."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Id of a photograph or ready case -> why."""
    repeated: set[tuple[int, int]] = field(default_factory=set)
    """Places whose id was there before."""
    counts: Counter[str] = field(default_factory=Counter)
    """Photographs by what became of them."""


def decide_unique(out: Path, near: int, exclusion: Exclusion) -> dict[str, int]:
    """Which photographs stay.

    Dropped are what a bench holds, and duplicates. A duplicate with instructions of its own stays for those that the
    photograph which it repeats does not have. Duplicates, and all photographs that share a source_id with either, are
    one unit: they are never split between fitting and testing.
    Ready cases are compared by sources and instruction together.
    """
    found = _index(out, exclusion)
    names = list(found.shas)
    duplicates = find_duplicates(names, list(found.shas.values()), list(found.hashes.values()), near)
    counts = found.counts
    units = _Units()
    said: dict[str, set[int]] = {name: set(sayings) for name, sayings in found.sayings.items()}
    for duplicate in duplicates:
        units.join(found.units[duplicate.kept], found.units[duplicate.dropped])
        new = set(found.sayings.get(duplicate.dropped, ())) - said.setdefault(duplicate.kept, set())
        said[duplicate.kept] |= new
        if not new:
            found.dropped[duplicate.dropped] = _likeness(duplicate)
            counts[duplicate.kind] += 1
    files = parts.part_files(out / PHOTOS)
    parts.write_groups(
        out / UNIQUE / INDEX, parts.UNIQUE, (_fates(path, n, found, units) for n, path in enumerate(files))
    )
    return dict(counts)


def _likeness(duplicate: Duplicate) -> str:
    if duplicate.kind == "exact":
        return f"it has the pixels of {duplicate.kept}"
    return f"it looks like {duplicate.kept} ({duplicate.distance} of 64 bits differ)"


def _index(out: Path, exclusion: Exclusion) -> _Photos:
    """Read what is compared; benches and repeats among the ready cases are decided on the way."""
    found, seen = _Photos(), set()
    groups: dict[str, str] = {}
    for part, path in enumerate(parts.part_files(out / PHOTOS)):
        for place, row in enumerate(parts.read_rows(path, parts.THIN)):
            name = row["id"]
            if row["reason"] is not None:
                continue
            if name in seen:
                found.repeated.add((part, place))
                continue
            seen.add(name)
            if (reason := _excluded(row, exclusion)) is not None:
                found.dropped[name] = reason
                found.counts["excluded"] += 1
            elif row["group"] is not None:
                # The smaller id stays, whichever was read first.
                one, other = sorted((name, groups.get(row["group"], name)))
                groups[row["group"]] = one
                if one != other:
                    found.dropped[other] = f"it has the picture and the instruction of {one}"
                    found.counts["exact"] += 1
            else:
                found.shas[name], found.hashes[name], found.units[name] = row["sha"], row["phash"], row["source_id"]
                if sayings := tuple(_hash(draft.task, draft.instruction) for draft in parts.drafts_of(row)):
                    found.sayings[name] = sayings
    return found


def _excluded(row: parts.Row, exclusion: Exclusion) -> str | None:
    """Why a bench keeps a photograph or ready case out, by any of its ids and pictures."""
    # Instructions that came with a photograph bring the ids of their cases; its own name is only a place.
    ids = {row["case_id"] or "", *(draft.id for draft in parts.drafts_of(row) if exclusion.ids)}
    pictures = [(row["sha"], row["phash"]), *json.loads(row["others"] or "[]")]
    reasons = (exclusion.reason(one, row["source_id"], *picture) for one in sorted(ids) for picture in pictures)
    return next(filter(None, reasons), None)


def _hash(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()[:8], "big")


class _Units:
    """Source ids that were found to be one unit (a disjoint-set forest); most are a unit of their own."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The unit's name: the source id of a photograph that was kept."""
        while (above := self._up.get(name)) is not None:
            # Every second step is cut short, so that the ways stay short.
            self._up[name] = name = self._up.get(above, above)
        return name

    def join(self, one: str, other: str) -> None:
        """Make two one, under the name of the first."""
        if (first := self.of(one)) != (second := self.of(other)):
            self._up[second] = first


def _fates(path: Path, part: int, found: _Photos, units: _Units) -> Sequence[parts.Row]:
    counts = found.counts
    rows: list[parts.Row] = []
    for place, row in enumerate(parts.read_rows(path, ("id", "reason", "source_id", "sha"))):
        if row["reason"] is not None:
            counts["skipped"] += 1
            continue
        reason = found.dropped.get(row["id"])
        if (part, place) in found.repeated:
            reason = "another photograph has its id"
            counts["repeated"] += 1
        counts["photos"] += 1
        counts["kept"] += reason is None
        unit = units.of(row["source_id"])
        kept = {"kept": reason is None, "reason": reason}
        rows.append({"row": place, "id": row["id"], "sha": row["sha"], "unit": unit, **kept})
    return rows


def decide_balance(out: Path, section: BalanceSection, seed: int) -> dict[str, Any]:
    """Which drafts become candidates, and their ids; also writes balance.json, the counts before and after."""
    pool = Pool(seed)
    columns = ("row", "number", "task", "instruction", "category", "wording", "reason")
    index = parts.read_groups(out / UNIQUE / INDEX, ("row", "id"))
    for part, photos in enumerate(index):
        names = {photo["row"]: photo["id"] for photo in photos}
        drafts = parts.read_rows(parts.numbered(out / DRAFTS, part), columns)
        for draft in one_wording(drafts, names, seed):
            cell = (draft["task"], draft["category"] or "")
            place = (part, draft["row"], draft["number"])
            pool.add(place, cell, names[draft["row"]], draft["instruction"])
    before = pool.counts()
    chosen = choose(pool, section)
    del pool
    after: Counter[Cell] = Counter()
    parts.write_groups(out / BALANCE / CHOSEN, parts.CHOSEN, _chunks(_chosen(out, chosen), after))
    atomic_write(out / BALANCE / BALANCED, dump_json({"before": table_of(before), "after": table_of(after)}))
    return {"drafts": sum(before.values()), "candidates": len(chosen)}


def _chunks(rows: Iterator[parts.Row], after: Counter[Cell]) -> Iterator[list[parts.Row]]:
    """The rows in chunks of candidates, counted in `after` as they pass."""
    while chunk := list(islice(rows, parts.CHUNK)):
        after.update((row["task"], row["category"]) for row in chunk)
        yield [{name: row[name] for name in parts.CHOSEN} for row in chunk]


def one_wording(drafts: Sequence[parts.Row], names: Mapping[int, str], seed: int) -> Iterator[parts.Row]:
    """The usable drafts of a file: of several wordings of one thing the one that a hash picks.

    Args:
        drafts: Rows of DRAFTS.
        names: Ids of the photographs by their rows.
        seed: Of the build.
    """
    groups: dict[tuple[int, int], list[parts.Row]] = {}
    group = 0
    for draft in drafts:
        if draft["reason"] is None:
            # A wording of number 0 begins a new thing to say.
            group += draft["wording"] == 0
            groups.setdefault((draft["row"], group), []).append(draft)
    for (row, _), wordings in groups.items():
        yield min(wordings, key=lambda draft: _hash(str(seed), names[row], draft["task"], draft["instruction"]))


def _chosen(out: Path, places: Sequence[tuple[int, int, int]]) -> Iterator[parts.Row]:
    """Rows of CHOSEN, with task and category beside; an id that several would share gets a hash of what differs."""
    # Hashes of the ids, not the ids, and the files read twice: a million names would fill the memory.
    used = Counter(_hash(row["case_id"]) for row in _named(out, places))
    for row in _named(out, places):
        if used[_hash(row["case_id"])] > 1:
            text = "\0".join((row["photo"], row["task"], row["instruction"]))
            row["case_id"] += f"-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        yield row


def _named(out: Path, places: Sequence[tuple[int, int, int]]) -> Iterator[parts.Row]:
    by_file: dict[int, list[tuple[int, int]]] = {}
    for part, row, number in places:
        by_file.setdefault(part, []).append((row, number))
    with pq.ParquetFile(out / UNIQUE / INDEX) as file:
        for part, mine in by_file.items():
            photos = {p["row"]: p for p in file.read_row_group(part, columns=["row", "id", "sha", "unit"]).to_pylist()}
            columns = ("row", "number", "task", "instruction", "category", "id")
            drafts = {(d["row"], d["number"]): d for d in parts.read_rows(parts.numbered(out / DRAFTS, part), columns)}
            for row, number in mine:
                photo, draft = photos[row], drafts[row, number]
                yield {
                    "case_id": case_id(photo["id"], photo["sha"], draft["task"], draft["instruction"], draft["id"]),
                    "part": part,
                    "row": row,
                    "number": number,
                    "unit": photo["unit"],
                    "photo": photo["id"],
                    "task": draft["task"],
                    "category": draft["category"] or "",
                    "instruction": draft["instruction"],
                }


def case_id(photo: str, sha: str, task: str, instruction: str, given: str) -> str:
    """The id of a case: as given, or made of photograph, task and instruction; it can name a file on any system.

    The pixels are part of it: two builds of other photographs under the same names share no id.
    """
    digest = hashlib.sha256(f"{sha}\0{instruction}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = given or f"{photo}-{task}-{digest}"
    clean = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"
    if len(clean) <= MAX_ID:
        return clean
    return f"{clean[: MAX_ID - 17]}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def decide_fates(out: Path, section: FilterSection, chunks: int) -> dict[str, Any]:
    """Which candidates are hard enough, by the scores of their edits; returns the counts by task and reason."""
    counts: dict[str, Counter[str]] = {}
    parts.write_groups(out / FILTER / FATES, FATE, (_decided(out, section, n, counts) for n in range(chunks)))
    fates = {
        task: {reason: counts[task][reason] for reason in (*KEPT, *DROPPED) if counts[task][reason]}
        for task in TASK_IDS
        if task in counts
    }
    kept = sum(count for row in fates.values() for reason, count in row.items() if reason in KEPT)
    return {"kept": kept, "fates": fates}


def fate_of(row: parts.Row) -> Fate:
    """The fate in a row of FATE."""
    return Fate(row["kept"], row["reason"], row["mean"], row["std"], row["unscorable"])


def _decided(out: Path, section: FilterSection, number: int, counts: dict[str, Counter[str]]) -> Sequence[parts.Row]:
    cases = parts.read_rows(candidates_file(out, number), ("id", "task", "category"))
    values: dict[str, list[float | None]] = {case["id"]: [] for case in cases}
    if section.by != "none":
        for score in read_scores(parts.numbered(out / SCORES, number)):
            values[score.edit_id.partition(":")[2]].append(score.value)
    rows = []
    for case, fate in zip(cases, decide(values, section).values(), strict=True):
        counts.setdefault(case["task"], Counter())[fate.reason] += 1
        rows.append(
            {"case_id": case["id"], "task": case["task"], "category": case["category"], "kept": fate.kept}
            | {"reason": fate.reason, "mean": fate.mean, "std": fate.std, "unscorable": fate.unscorable}
        )
    return rows
