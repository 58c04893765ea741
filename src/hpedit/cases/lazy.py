"""Training cases by the ten thousands: decoded one at a time, when they are drawn.

cases = lazy_cases(CasesFolder(path), index=Path("runs/train/cases.json"))

Several cases with the same pictures and instruction count as one. To find them, each table is read through once without
decoding a picture; what was found is kept in the index beside the run, for as long as the tables are untouched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpedit.cases.folder import CasesFolder
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.atomic import atomic_write, read_json
from hpedit.store.lazy_rows import LazyRows, Place
from hpedit.store.tables import PARQUET_DAMAGE, SOURCES, iter_cases

BATCH = 32
"""Rows in memory at once while a table is read through."""


def lazy_cases(folder: CasesFolder, index: Path | None = None) -> LazyRows[Case]:
    """The cases that `folder.kept()` gives, without those that are there twice.

    Args:
        folder: Where they are.
        index: File that remembers where they are; None looks each time.

    Raises:
        HPEditError: a table is damaged, or is none of cases.
    """
    files = folder.case_files()
    places = _remembered(index, files)
    if places is None:
        places = list(_different(files, folder.kept_ids()))
        if index is not None:
            index.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(index, json.dumps({"tables": _state(files), "places": places}))
    return LazyRows(files, iter_cases, places)


@dataclass(frozen=True, slots=True)
class Label:
    """What a case is called and where it is from, without its pictures."""

    id: str
    task: str
    source_id: str


def labels_of(cases: Sequence[Case]) -> list[Label]:
    """Each case's label, in order; of lazy cases no picture is decoded.

    Raises:
        HPEditError: a table is damaged or has changed.
    """
    if not isinstance(cases, LazyRows):
        return [Label(case.id, case.task, case.source_id) for case in cases]
    columns = [field.name for field in fields(Label)]
    found: dict[int, list[Label]] = {}
    for number in {file for file, _ in cases.places}:
        try:
            rows = pq.read_table(cases.files[number], columns=columns).to_pylist()
        except (OSError, *PARQUET_DAMAGE) as error:
            raise HPEditError(f"{cases.files[number]} cannot be read: {error}", hint="write it again") from error
        found[number] = [Label(*(row[name] or "" for name in columns)) for row in rows]
    return [found[file][row] for file, row in cases.places]


def chosen(cases: Sequence[Case], numbers: Sequence[int]) -> Sequence[Case]:
    """The cases of these numbers; lazy ones stay lazy."""
    if isinstance(cases, LazyRows):
        return cases.select(numbers)
    return [cases[number] for number in numbers]


def _state(files: Sequence[Path]) -> list[list[Any]]:
    """Name, size and time of each table: enough to see that it was written again."""
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _remembered(index: Path | None, files: Sequence[Path]) -> list[Place] | None:
    if index is None or not index.is_file():
        return None
    try:
        found = read_json(index)
        known = found["tables"] == _state(files)
        return [(int(file), int(row)) for file, row in found["places"]] if known else None
    except (HPEditError, KeyError, TypeError, ValueError):
        # It only saves time: a damaged one is made anew.
        return None


def _different(files: Sequence[Path], kept: Sequence[set[str] | None]) -> Iterator[Place]:
    """Places of the kept cases; of equal ones the first."""
    seen: set[bytes] = set()
    for number, (file, wanted) in enumerate(zip(files, kept, strict=True)):
        for row, (name, key) in enumerate(_keys(file)):
            if (wanted is None or name in wanted) and key not in seen:
                seen.add(key)
                yield number, row


def _keys(file: Path) -> Iterator[tuple[str, bytes]]:
    """Id and hash of sources and instruction of each row; the pictures' files count, which is as good as their pixels.

    Equal pixels in two encodings count as two cases: they share no baseline, and no harm is done.
    """
    columns = ["id", "instruction", *SOURCES]
    try:
        with pq.ParquetFile(file) as table:
            if missing := sorted(set(columns) - set(table.schema_arrow.names)):
                raise HPEditError(f"{file} lacks the columns {', '.join(missing)}", hint="is it a table of cases?")
            for batch in table.iter_batches(batch_size=BATCH, columns=columns):
                for row in batch.to_pylist():
                    digest = hashlib.sha256()
                    for cell in (row[name] for name in SOURCES):
                        digest.update(hashlib.sha256((cell or {}).get("bytes") or b"").digest())
                    digest.update(row["instruction"].encode())
                    yield row["id"], digest.digest()
    except PARQUET_DAMAGE as error:
        raise HPEditError(f"{file} is not a readable parquet file: {error}", hint="write it again") from error
