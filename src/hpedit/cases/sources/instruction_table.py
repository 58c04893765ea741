"""Pictures with instructions, named in a CSV or JSONL table.

Besides the user's own and MagicBrush's, the tables of Edit-R1 and flow_grpo are read: a folder with
train_metadata.jsonl, one {"prompt", "image", "requirement"} a line, pictures named relative to it. A row of flow_grpo's
two-picture sets ({"prompt", "ctrl_image", "ref_image"}) becomes a case with two sources.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from hpedit.cases.duplicates import pixel_sha, source_id_of_pixels
from hpedit.cases.source_items import InstructionCandidate, Photo, Skipped
from hpedit.cases.sources.base import Item, OpenedSource, hash_files
from hpedit.cases.sources.columns import (
    COLUMNS,
    category_labels,
    cells_of,
    instruction_of_row,
    missing_columns,
    task_of,
)
from hpedit.cases.sources.records import Record, RecordFile
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.images import load_image
from hpedit.store.paths import inside
from hpedit.store.run_folder import hash_path

__all__ = ["TableSource", "task_of"]

USUAL_NAMES = (
    "edits.csv",
    "cases.csv",
    "instructions.csv",
    "metadata.csv",
    "metadata.jsonl",
    "cases.jsonl",
    "instructions.jsonl",
    "train_metadata.jsonl",
)
"""Tables that a folder may hold, the first that is there counts."""


@dataclass(frozen=True, slots=True)
class _Usable:
    """A row that gives an instruction."""

    id: str
    line: int
    cells: Mapping[str, str]
    candidate: InstructionCandidate


class TableSource(OpenedSource):
    """Photographs are the pictures that the rows name, in the order of their first rows, each with its instructions."""

    @cached_property
    def table(self) -> Path:
        """The table; HPEditError if a folder is named that has none of the usual names."""
        path = self.path(str(self.section.table))
        if not path.is_dir():
            return path
        for name in USUAL_NAMES:
            if (path / name).is_file():
                return path / name
        raise HPEditError(
            f"{path} has no table of instructions", hint="name a CSV or JSONL with the columns image and instruction"
        )

    @cached_property
    def root(self) -> Path:
        """The folder that the pictures' names are relative to."""
        return self.path(self.section.photos) if self.section.photos else self.table.parent

    @cached_property
    def _file(self) -> RecordFile:
        return RecordFile(self.table)

    def fingerprint(self) -> str:
        """See `OpenedSource`: the table, and every picture that it names."""
        names: set[str] = set()
        for record in self._file.records():
            for key in ("image", "reference"):
                if name := _first(record.row, key):
                    names.add(_plain(name))
        allowed = sorted(name for name in names if _is_inside(self.root, name))
        return hashlib.sha256(f"{hash_path(self.table)};{hash_files(self.root, allowed)}".encode()).hexdigest()

    def items(self) -> Iterator[str]:
        """One item for each picture: the places of its rows, as line:offset or line:offset:line of an equal id."""
        index = _Index(self._file)
        left = self.section.count or sys.maxsize
        for rows in index.groups():
            if not left:
                return
            left -= 1
            yield ",".join(rows)

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        places = [[int(part) for part in place.split(":")] for place in item.split(",")]
        usable: list[_Usable] = []
        seen: dict[tuple[str, str, str], int] = {}
        for place, record in zip(places, self._file.at([(place[0], place[1]) for place in places]), strict=True):
            row_id = self.id(f"{self.table.name}:{record.line}")
            try:
                row = _usable(row_id, record, place[2] if len(place) > 2 else 0)
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
        """The photograph of rows that name one picture, and a case for each row that names a second one."""
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
        origin, licence = self.origin(cells, name), self.licence(cells)
        source_id = cells.get("source_id", "")
        if candidates:
            yield Photo(self.id(name), image, origin, licence, source_id, category_labels(cells), candidates)
        for row in rows:
            if "reference" in row.cells:
                yield self._case(row, image, source_id or source_id_of_pixels(pixel_sha(image)), origin, licence)

    def _case(self, row: _Usable, image: Image.Image, source_id: str, origin: str, licence: str) -> Item:
        reference = _plain(row.cells["reference"])
        try:
            second = load_image(inside(self.root, reference), reference)
        except HPEditError as error:
            return Skipped(row.id, error.message)
        candidate = row.candidate
        # The row makes it unique where nobody gave an id: two rows may differ in the second picture alone.
        case_id = candidate.id or row.id.replace("/", "_").replace(":", "-")
        return Case(
            case_id,
            candidate.task,
            candidate.instruction,
            (image, second),
            source_id,
            candidate.category,
            origin,
            licence,
        )


def _usable(row_id: str, record: Record, same_id: int) -> _Usable:
    """HPEditError, as the reason to skip it, for a row that gives nothing."""
    if record.fault:
        raise HPEditError(record.fault)
    cells = cells_of(record.row)
    if "image" not in cells:
        raise HPEditError("no picture is named")
    if same_id:
        raise HPEditError(f"line {same_id} has the id {cells['id']} too")
    return _Usable(row_id, record.line, cells, instruction_of_row(cells))


class _Index:
    """Where the rows of each picture are: four numbers a row, whatever it says."""

    def __init__(self, file: RecordFile) -> None:
        lines, offsets, pictures, ids = array("q"), array("q"), array("Q"), array("Q")
        checked = False
        for record in file.records():
            if record.row and not checked:
                _check_columns(file.path, record.row)
                checked = True
            image = _first(record.row, "image")
            lines.append(record.line)
            offsets.append(record.offset)
            # A row without a picture stands alone.
            pictures.append(_hash64(_plain(image) if image else f"\0{record.line}"))
            ids.append(_hash64(_first(record.row, "id")))
        if not lines:
            raise HPEditError(f"{file.path} has no row", hint="each row needs a picture and an instruction")
        self._lines, self._offsets = (np.frombuffer(part, np.int64) for part in (lines, offsets))
        self._pictures, self._ids = (np.frombuffer(part, np.uint64) for part in (pictures, ids))

    def groups(self) -> Iterator[list[str]]:
        """The places of the rows of one picture after another, in the order of their first rows."""
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
        """Row -> line of the first row with the same id, for the rows after it."""
        _, first, which, counts = np.unique(self._ids, return_index=True, return_inverse=True, return_counts=True)
        repeated = np.flatnonzero((counts[which] > 1) & (self._ids != 0))
        return {int(row): int(self._lines[first[which[row]]]) for row in repeated if first[which[row]] != row}


def _check_columns(table: Path, row: Mapping[str, Any]) -> None:
    for key in missing_columns(row):
        raise HPEditError(f"{table} has no column {key!r}", hint=f"it may be called {', '.join(COLUMNS[key])}")


def _first(row: Mapping[str, Any], key: str) -> str:
    """As `cells_of`, one cell alone and without complaint: the index goes through every row."""
    for name in COLUMNS[key]:
        value = row.get(name)
        if value is not None and (text := str(value).strip()):
            return text
    return ""


def _plain(name: str) -> str:
    """One name for one file: without "./" and doubled slashes."""
    return PurePosixPath(name).as_posix() if "./" in name or "//" in name else name


def _hash64(text: str) -> int:
    """64 bits of a text, 0 for none: of a million rows two share them with a chance of 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) if text else 0


def _is_inside(root: Path, name: str) -> bool:
    try:
        inside(root, name)
    except HPEditError:
        return False
    return True
