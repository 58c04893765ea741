"""Read photographs with instructions from a CSV or JSONL table.

It reads the tables of users, MagicBrush, Edit-R1 and flow_grpo: a folder with train_metadata.jsonl, a
{"prompt", "image", "requirement"} a line, pictures relative to it. A row of flow_grpo's two-picture sets ({"prompt",
"ctrl_image", "ref_image"}) becomes a case with two sources.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hpedit.cases.duplicates import pixel_sha, source_id_of_pixels
from hpedit.cases.source_items import InstructionCandidate, Photo, Skipped
from hpedit.cases.sources.base import Item, OpenedSource, hash_files
from hpedit.cases.sources.column_map import BETWEEN, ColumnMap
from hpedit.cases.sources.columns import (
    COLUMNS,
    cells_of,
    instruction_of_row,
    missing_columns,
    task_of,
)
from hpedit.cases.sources.records import Record, RecordFile
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.seeds import hash_64
from hpedit.store.images import load_image
from hpedit.store.paths import inside
from hpedit.store.run_folder import hash_path

__all__ = ["TableSource", "task_of"]

USUAL_NAMES = (
    *(f"{name}.csv" for name in ("edits", "cases", "instructions", "metadata")),
    *(f"{name}.jsonl" for name in ("metadata", "cases", "instructions", "train_metadata")),
)
"""Names of a folder's table; the first that exists counts."""


@dataclass(frozen=True, slots=True)
class _Usable:
    """A row with a usable instruction."""

    id: str
    line: int
    cells: Mapping[str, str]
    candidate: InstructionCandidate


class TableSource(OpenedSource):
    """The pictures that a table's rows name, in the order of their first rows, each with its instructions."""

    @cached_property
    def table(self) -> Path:
        """Path of the table; HPEditError for a folder without one."""
        path = self.path(str(self.section.table))
        if not path.is_dir():
            return path
        if found := next((path / name for name in USUAL_NAMES if (path / name).is_file()), None):
            return found
        hint = "name a CSV or JSONL with the columns image and instruction"
        raise HPEditError(f"{path} has no table of instructions", hint=hint)

    @cached_property
    def root(self) -> Path:
        """Folder that picture names are relative to."""
        return self.path(self.section.photos) if self.section.photos else self.table.parent

    @cached_property
    def _file(self) -> RecordFile:
        return RecordFile(self.table)

    @cached_property
    def _columns(self) -> ColumnMap:
        return ColumnMap(self.section)

    def _records(self) -> Iterator[Record]:
        """All rows in our column names."""
        return (_renamed(record, self._columns) for record in self._file.records())

    def fingerprint(self) -> str:
        """See `OpenedSource`: the table and every picture that it names."""
        rows = (record.row for record in self._records())
        cells = (_first(row, key) for row in rows for key in ("image", "reference"))
        names = {_plain(name) for cell in cells for name in cell.split(BETWEEN) if name}
        allowed: dict[str, Path] = {}
        for name in sorted(names):
            with suppress(HPEditError):
                inside(self.root, name)
                allowed[name] = self.root / name
        return hashlib.sha256(f"{hash_path(self.table)};{hash_files(allowed)}".encode()).hexdigest()

    def items(self) -> Iterator[str]:
        """One item a picture: its rows as line:offset, or line:offset:line of an earlier row with the same id."""
        yield from map(",".join, islice(_Index(self._file, self._columns).groups(), self.section.count))

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        places = [[int(part) for part in place.split(":")] for place in item.split(",")]
        usable: list[_Usable] = []
        seen: dict[tuple[str, str, str], int] = {}
        for place, record in zip(places, self._file.at([(place[0], place[1]) for place in places]), strict=True):
            row_id = self.id(f"{self.table.name}:{record.line}")
            try:
                row = _usable(row_id, _renamed(record, self._columns), place[2] if len(place) > 2 else 0)
                key = (row.candidate.task, row.candidate.instruction, row.cells.get("reference", ""))
                if key in seen:
                    raise HPEditError(f"the same picture and instruction as in line {seen[key]}")
            except HPEditError as error:
                yield Skipped(row_id, error.message)
                continue
            seen[key] = record.line
            usable.append(row)
        yield from self._made_of(usable)

    def _made_of(self, rows: list[_Usable]) -> Iterator[Item]:
        """The photograph that the rows share, and a case for each row with a second picture."""
        if not rows:
            return
        name = _plain(rows[0].cells["image"])
        try:
            image = load_image(inside(self.root, name), name)
        except HPEditError as error:
            yield from (Skipped(row.id, error.message) for row in rows)
            return
        cells: dict[str, str] = {}
        for row in reversed(rows):
            cells |= row.cells
        candidates = tuple(row.candidate for row in rows if "reference" not in row.cells)
        photo = self.make_photo(self.id(name), image, name, cells, *candidates)
        if candidates:
            yield photo
        for row in rows:
            if "reference" in row.cells:
                yield self._case(row, photo)

    def _case(self, row: _Usable, photo: Photo) -> Item:
        """A case of the photograph and the row's further pictures."""
        names = [_plain(name) for name in row.cells["reference"].split(BETWEEN)]
        try:
            others = [load_image(inside(self.root, name), name) for name in names]
        except HPEditError as error:
            return Skipped(row.id, error.message)
        candidate = row.candidate
        # Without an id the row makes it unique: two rows may differ only in the second picture.
        case_id = candidate.id or row.id.replace("/", "_").replace(":", "-")
        source_id = photo.source_id or source_id_of_pixels(pixel_sha(photo.image))
        rest = (source_id, candidate.category, photo.origin, photo.licence)
        return Case(case_id, candidate.task, candidate.instruction, (photo.image, *others), *rest)


def _renamed(record: Record, columns: ColumnMap) -> Record:
    """A record in our column names; one with too many pictures has that as its fault."""
    if not record.row:
        return record
    try:
        return replace(record, row=columns.rename(record.row))
    except HPEditError as error:
        return replace(record, row={}, fault=error.message)


def _usable(row_id: str, record: Record, same_id: int) -> _Usable:
    """Check a row; HPEditError as the reason to skip it."""
    if record.fault:
        raise HPEditError(record.fault)
    cells = cells_of(record.row)
    if "image" not in cells:
        raise HPEditError("names no picture")
    if same_id:
        raise HPEditError(f"line {same_id} has the id {cells['id']} too")
    return _Usable(row_id, record.line, cells, instruction_of_row(cells))


class _Index:
    """Where the rows of each picture are: four numbers a row."""

    def __init__(self, file: RecordFile, columns: ColumnMap) -> None:
        lines, offsets, pictures, ids = array("q"), array("q"), array("Q"), array("Q")
        checked = False
        for given in file.records():
            record = _renamed(given, columns)
            if record.row and not checked:
                checked = True
                columns.check(given.row, str(file.path))
                for key in missing_columns(record.row):
                    hint = f"accepted names: {', '.join(COLUMNS[key])}"
                    raise HPEditError(f"{file.path} has no column {key!r}", hint=hint)
            image = _first(record.row, "image")
            lines.append(record.line)
            offsets.append(record.offset)
            # A row without a picture is a group of its own.
            pictures.append(hash_64(_plain(image) if image else f"\0{record.line}"))
            # 64 bits: of a million rows two collide with a chance of 1 in 37 million. 0 = no id.
            ids.append(hash_64(found) if (found := _first(record.row, "id")) else 0)
        if not lines:
            raise HPEditError(f"{file.path} has no row", hint="each row needs a picture and an instruction")
        self._lines, self._offsets = (np.frombuffer(part, np.int64) for part in (lines, offsets))
        self._pictures, self._ids = (np.frombuffer(part, np.uint64) for part in (pictures, ids))

    def groups(self) -> Iterator[list[str]]:
        """The places of each picture's rows, pictures in the order of their first rows."""
        _, first, which = np.unique(self._pictures, return_index=True, return_inverse=True)
        order = np.lexsort((self._lines, first[which]))
        same_id = self._same_ids()
        group: list[str] = []
        for before, row in zip([None, *order[:-1].tolist()], order.tolist(), strict=True):
            if before is not None and which[before] != which[row]:
                yield group
                group = []
            place = f"{self._lines[row]}:{self._offsets[row]}"
            group.append(f"{place}:{same_id[row]}" if row in same_id else place)
        yield group

    def _same_ids(self) -> dict[int, int]:
        """Row -> line of an earlier row with the same id."""
        _, first, which, counts = np.unique(self._ids, return_index=True, return_inverse=True, return_counts=True)
        repeated = np.flatnonzero((counts[which] > 1) & (self._ids != 0))
        return {int(row): int(self._lines[first[which[row]]]) for row in repeated if first[which[row]] != row}


def _first(row: Mapping[str, Any], key: str) -> str:
    """One cell as in `cells_of`, without errors: the index reads every row."""
    for name in COLUMNS[key]:
        value = row.get(name)
        if value is not None and (text := str(value).strip()):
            return text
    return ""


def _plain(name: str) -> str:
    """Normalise a file name: without "./" and doubled slashes."""
    return PurePosixPath(name).as_posix() if "./" in name or "//" in name else name
