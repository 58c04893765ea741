"""Stages of a build that decide about all photographs or cases at once, from an index without pictures.

`decide_unique` (2-unique: deduplication, leakage), `decide_balance` (5-balance) and `decide_filter` (7-filter) read the
files of earlier stages, write one file each and return counts.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpedit.cases import stage_io, steps
from hpedit.cases.balance import CandidatePlace, CandidatePool, Cell, choose_balanced, counts_by_task
from hpedit.cases.duplicates import find_duplicates
from hpedit.cases.exclusion import Exclusion
from hpedit.cases.hardness import KEPT, FilterDecision, count_reasons, decide_hardness
from hpedit.cases.recipe import BalanceSection, FilterSection
from hpedit.cases.stage_io import NUMBER, TEXT, YES
from hpedit.seeds import hash_64
from hpedit.store.atomic import write_json
from hpedit.store.json_text import decode_json
from hpedit.store.parquet import open_parquet
from hpedit.store.tables import read_scores

BALANCED = "balance.json"
MAX_ID = 150
"""Characters of a generated case id: it names files, whose names may have 255 bytes."""

FILTER_COLUMNS = {
    **{"case_id": TEXT, "task": TEXT, "category": TEXT, "kept": YES, "reason": TEXT},
    **{"mean": pa.float64(), "std": pa.float64(), "unscorable": NUMBER},
}
"""Columns of 7-filter/fates.parquet, the filter decisions; row group n belongs to candidates/part-n."""


@dataclass(slots=True)
class _Photos:
    """The index of 2-unique: what deduplication compares of each photograph."""

    shas: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    """Photograph id -> its source_id; ready cases are left out."""
    instructions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Photograph id -> hashes of the instructions that came with it, if any."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Id of a photograph or ready case -> reason."""
    repeated: set[tuple[int, int]] = field(default_factory=set)
    """(file, row) of photographs whose id was seen before."""
    counts: Counter[str] = field(default_factory=Counter)
    """Photographs by outcome."""


def decide_unique(out: Path, near: int, exclusion: Exclusion) -> dict[str, int]:
    """Drop duplicate photographs and those of benchmarks (leakage); writes the index of 2-unique, returns counts.

    A duplicate that came with instructions which the kept photograph lacks stays for these. Duplicates, and all
    photographs that share a source_id with either, are one unit: they are never split between fitting and testing.
    Ready cases are compared by source pictures and instruction together.
    """
    found = _index_photos(out, exclusion)
    duplicates = find_duplicates(list(found.shas), list(found.shas.values()), list(found.hashes.values()), near)
    units = _Units()
    known = {name: set(hashes) for name, hashes in found.instructions.items()}
    for duplicate in duplicates:
        units.join(found.units[duplicate.kept], found.units[duplicate.dropped])
        new = set(found.instructions.get(duplicate.dropped, ())) - known.setdefault(duplicate.kept, set())
        known[duplicate.kept] |= new
        if not new:
            same, differs = f"it has the pixels of {duplicate.kept}", f"{duplicate.distance} of 64 bits differ"
            reason = same if duplicate.kind == "exact" else f"it looks like {duplicate.kept} ({differs})"
            found.dropped[duplicate.dropped] = reason
            found.counts[duplicate.kind] += 1
    files = enumerate(stage_io.chunk_files(out / steps.PHOTOS))
    rows = (_unique_rows(path, number, found, units) for number, path in files)
    stage_io.write_row_groups(out / steps.UNIQUE / steps.INDEX, stage_io.UNIQUE, rows)
    return dict(found.counts)


def _index_photos(out: Path, exclusion: Exclusion) -> _Photos:
    """Read what deduplication compares; leakage and repeated ready cases are decided on the way."""
    found, seen = _Photos(), set()
    groups: dict[str, str] = {}
    for part, path in enumerate(stage_io.chunk_files(out / steps.PHOTOS)):
        for place, row in enumerate(stage_io.read_chunk(path, stage_io.THIN)):
            name = row["id"]
            if row["reason"] is not None:
                continue
            if name in seen:
                found.repeated.add((part, place))
                continue
            seen.add(name)
            if (reason := _leakage(row, exclusion)) is not None:
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
                candidates = stage_io.photo_instructions(row)
                if hashes := tuple(hash_64(f"{one.task}\0{one.instruction}") for one in candidates):
                    found.instructions[name] = hashes
    return found


def _leakage(row: stage_io.Row, exclusion: Exclusion) -> str | None:
    """Why a benchmark excludes a photograph or ready case, by any of its ids and pictures; None if none does."""
    # Instructions that came with a photograph bring the ids of their cases; its own name is only a place.
    ids = {row["case_id"] or "", *(one.id for one in stage_io.photo_instructions(row) if exclusion.ids)}
    pictures = [(row["sha"], row["phash"]), *decode_json(row["others"] or "[]")]
    reasons = (exclusion.reason(one, row["source_id"], *picture) for one in sorted(ids) for picture in pictures)
    return next(filter(None, reasons), None)


class _Units:
    """Source ids merged into units (a disjoint-set forest); most are a unit of their own."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The unit's name: the source id of a photograph that was kept."""
        while (above := self._up.get(name)) is not None:
            # Path halving: later look-ups stay short.
            self._up[name] = name = self._up.get(above, above)
        return name

    def join(self, one: str, other: str) -> None:
        """Merge two units under the name of the first."""
        if (first := self.of(one)) != (second := self.of(other)):
            self._up[second] = first


def _unique_rows(path: Path, part: int, found: _Photos, units: _Units) -> Sequence[stage_io.Row]:
    """The index rows of one file of photographs."""
    counts = found.counts
    rows: list[stage_io.Row] = []
    for place, row in enumerate(stage_io.read_chunk(path, ("id", "reason", "source_id", "sha"))):
        if row["reason"] is not None:
            counts["skipped"] += 1
            continue
        reason = found.dropped.get(row["id"])
        if (part, place) in found.repeated:
            reason = "another photograph has its id"
            counts["repeated"] += 1
        counts["photos"] += 1
        counts["kept"] += reason is None
        kept = {"kept": reason is None, "reason": reason}
        rows.append({"row": place, "id": row["id"], "sha": row["sha"], "unit": units.of(row["source_id"]), **kept})
    return rows


def decide_balance(out: Path, section: BalanceSection, seed: int) -> dict[str, Any]:
    """Choose the instruction candidates that become candidate cases; also writes the counts to balance.json."""
    pool = CandidatePool(seed)
    columns = ("row", "number", "task", "instruction", "category", "wording", "reason")
    for part, (names, candidates) in enumerate(read_instructions(out, columns)):
        for candidate in pick_wordings(candidates, names, seed):
            cell = (candidate["task"], candidate["category"] or "")
            place = (part, candidate["row"], candidate["number"])
            pool.add(place, cell, names[candidate["row"]], candidate["instruction"])
    before = pool.counts()
    chosen = choose_balanced(pool, section)
    del pool
    after: Counter[Cell] = Counter()
    chunks = _chunk_and_count(_chosen_rows(out, chosen), after)
    stage_io.write_row_groups(out / steps.BALANCE / steps.CHOSEN, stage_io.CHOSEN, chunks)
    tables = {"before": counts_by_task(before), "after": counts_by_task(after)}
    write_json(out / steps.BALANCE / BALANCED, tables)
    return {"drafts": sum(before.values()), "candidates": len(chosen)}


def read_instructions(
    out: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[dict[int, str], list[stage_io.Row]]]:
    """For each file of photographs: their ids by row, and the rows of their instruction candidates."""
    for part, photos in enumerate(stage_io.read_row_groups(out / steps.UNIQUE / steps.INDEX, ("row", "id"))):
        file = stage_io.chunk_file(out / steps.INSTRUCTIONS, part)
        yield {photo["row"]: photo["id"] for photo in photos}, stage_io.read_chunk(file, columns)


def _chunk_and_count(rows: Iterator[stage_io.Row], after: Counter[Cell]) -> Iterator[list[stage_io.Row]]:
    """The rows in chunks of candidate cases, counted in `after` as they pass."""
    while chunk := list(islice(rows, stage_io.CHUNK)):
        after.update((row["task"], row["category"]) for row in chunk)
        yield [{name: row[name] for name in stage_io.CHOSEN} for row in chunk]


def pick_wordings(candidates: Sequence[stage_io.Row], names: Mapping[int, str], seed: int) -> Iterator[stage_io.Row]:
    """Pick one of several wordings of the same instruction by hash; rejected instruction candidates are left out.

    Args:
        candidates: Rows of `stage_io.INSTRUCTIONS` of one file.
        names: Ids of the photographs by their rows.
        seed: Of the build.
    """
    groups: dict[tuple[int, int], list[stage_io.Row]] = {}
    group = 0
    for candidate in candidates:
        if candidate["reason"] is None:
            # Wordings are numbered from 0: a 0 begins another instruction.
            group += candidate["wording"] == 0
            groups.setdefault((candidate["row"], group), []).append(candidate)
    for (row, _), wordings in groups.items():
        yield min(
            wordings, key=lambda one: hash_64("\0".join((str(seed), names[row], one["task"], one["instruction"])))
        )


def _chosen_rows(out: Path, places: Sequence[CandidatePlace]) -> Iterator[stage_io.Row]:
    """Rows of CHOSEN with task and category; an id that several would share gets a hash of what differs."""
    # Hashes of the ids, not the ids, and the files read twice: a million names would fill the memory.
    used = Counter(hash_64(row["case_id"]) for row in _named_rows(out, places))
    for row in _named_rows(out, places):
        if used[hash_64(row["case_id"])] > 1:
            row["case_id"] += f"-{_hex(row['photo'], row['task'], row['instruction'])[:8]}"
        yield row


def _named_rows(out: Path, places: Sequence[CandidatePlace]) -> Iterator[stage_io.Row]:
    by_file: dict[int, list[tuple[int, int]]] = {}
    for part, row, number in places:
        by_file.setdefault(part, []).append((row, number))
    columns = ("row", "number", "task", "instruction", "category", "id")
    with open_parquet(out / steps.UNIQUE / steps.INDEX) as file:
        for part, mine in by_file.items():
            photos = {p["row"]: p for p in file.read_row_group(part, columns=["row", "id", "sha", "unit"]).to_pylist()}
            rows = stage_io.read_chunk(stage_io.chunk_file(out / steps.INSTRUCTIONS, part), columns)
            candidates = {(one["row"], one["number"]): one for one in rows}
            for row, number in mine:
                photo, one = photos[row], candidates[row, number]
                name = make_case_id(photo["id"], photo["sha"], one["task"], one["instruction"], one["id"])
                yield {
                    **{"case_id": name, "part": part, "row": row, "number": number},
                    **{"unit": photo["unit"], "photo": photo["id"], "task": one["task"]},
                    **{"category": one["category"] or "", "instruction": one["instruction"]},
                }


def make_case_id(photo: str, sha: str, task: str, instruction: str, given: str) -> str:
    """Name a case as given, or by photograph, task and instruction; the id can name a file on any system.

    The pixels are part of it: two builds of other photographs under the same names share no id.
    """
    name = given or f"{photo}-{task}-{_hex(sha, instruction)[:8]}"
    clean = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"
    return clean if len(clean) <= MAX_ID else f"{clean[: MAX_ID - 17]}-{_hex(name)[:16]}"


def _hex(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def decide_filter(out: Path, section: FilterSection, chunks: int) -> dict[str, Any]:
    """Decide which candidate cases are hard enough, by the scores of their edits; returns counts by task and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    rows = (_decision_rows(out, section, number, counts) for number in range(chunks))
    stage_io.write_row_groups(out / steps.FILTER / steps.DECISIONS, FILTER_COLUMNS, rows)
    table = count_reasons(counts)
    kept = sum(count for row in table.values() for reason, count in row.items() if reason in KEPT)
    return {"kept": kept, "fates": table}


def decision_of_row(row: stage_io.Row) -> FilterDecision:
    """The filter decision in a row of `FILTER_COLUMNS`."""
    return FilterDecision(row["kept"], row["reason"], row["mean"], row["std"], row["unscorable"])


def _decision_rows(
    out: Path, section: FilterSection, number: int, counts: Counter[tuple[str, str]]
) -> Sequence[stage_io.Row]:
    cases = stage_io.read_chunk(steps.candidates_file(out, number), ("id", "task", "category"))
    values: dict[str, list[float | None]] = {case["id"]: [] for case in cases}
    if section.by != "none":
        for score in read_scores(stage_io.chunk_file(out / steps.SCORES, number)):
            values[score.edit_id.partition(":")[2]].append(score.value)
    decisions = decide_hardness(values, section)
    counts.update((case["task"], decisions[case["id"]].reason) for case in cases)
    return [
        {"case_id": case["id"], "task": case["task"], "category": case["category"]} | asdict(decisions[case["id"]])
        for case in cases
    ]
