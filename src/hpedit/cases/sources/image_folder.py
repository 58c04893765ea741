"""Read a folder as `datasets.load_dataset("imagefolder")` does: pictures, and metadata tables about them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from PIL import Image

from hpedit.cases.source_items import Photo, Skipped
from hpedit.cases.sources.base import Item
from hpedit.cases.sources.columns import cells_of, row_instructions
from hpedit.cases.sources.parquet import open_parquet
from hpedit.cases.sources.photo_folder import FolderSource, is_picture
from hpedit.cases.sources.records import Record, RecordFile
from hpedit.errors import HPEditError
from hpedit.store.paths import why_outside
from hpedit.store.tables import iter_rows

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"


class ImageFolderSource(FolderSource):
    """Pictures with the rows of metadata.csv, .jsonl or .parquet in any subfolder; `file_name` names the picture.

    Without such a table the folders' names are the labels, as in Hugging Face: if there are several, all at one depth.
    """

    @cached_property
    def _tables(self) -> list[str]:
        return [name for name in self.names if PurePosixPath(name).name in TABLES]

    @cached_property
    def _rows(self) -> tuple[dict[str, list[dict[str, str]]], list[Skipped]]:
        """Picture -> cells of its rows; and the rows that name none."""
        rows_of: dict[str, list[dict[str, str]]] = {}
        skipped: list[Skipped] = []
        there = {name for name in self.names if is_picture(name)}
        for table in self._tables:
            folder = PurePosixPath(table).parent
            for record in _records(self.root, table):
                try:
                    name = _file_name(record)
                    if (folder / name).as_posix() not in there:
                        raise HPEditError(f"names {name}, which does not exist")
                    rows_of.setdefault((folder / name).as_posix(), []).append(cells_of(record.row))
                except HPEditError as error:
                    skipped.append(Skipped(self.id(f"{table}:{record.line}"), error.message))
        return rows_of, skipped

    @cached_property
    def _folders_are_labels(self) -> bool:
        pictures = [PurePosixPath(name).parent for name in self.names if is_picture(name)]
        return not self._tables and len({p.name for p in pictures}) > 1 and len({len(p.parts) for p in pictures}) == 1

    def items(self) -> Iterator[str]:
        """See `OpenedSource`."""
        yield from super().items()
        yield from (f"!{number}" for number in range(len(self._rows[1])))

    def is_side_file(self, name: str, stems: set[str]) -> bool:
        """See `FolderSource`."""
        return name in self._tables or super().is_side_file(name, stems)

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        if item.startswith("!"):
            yield self._rows[1][int(item[1:])]
        elif self._tables and is_picture(item) and item not in self._rows[0]:
            yield Skipped(self.id(item), f"no row of {', '.join(self._tables)} names {item}")
        else:
            yield from super().read_item(item)
            for row in self._rows[0].get(item, []):
                yield from row_instructions(row, self.id(item))[1]

    def cells(self, name: str) -> Mapping[str, str]:
        """See `FolderSource`: cells of the tables, the first row first, then of a side file."""
        label = {"label": PurePosixPath(name).parent.name} if self._folders_are_labels else {}
        cells: dict[str, str] = label | dict(super().cells(name))
        for row in reversed(self._rows[0].get(name, [])):
            cells |= row
        return cells

    def photo(self, name: str, image: Image.Image, cells: Mapping[str, str]) -> Photo:
        """See `FolderSource`; with the instructions of the rows."""
        rows = self._rows[0].get(name, [])
        candidates = tuple(candidate for row in rows for candidate in row_instructions(row, "")[0])
        return replace(super().photo(name, image, cells), candidates=candidates)


def _records(root: Path, table: str) -> Iterator[Record]:
    if os.path.splitext(table)[1] != ".parquet":
        yield from RecordFile(root / table).records()
        return
    with open_parquet(root / table, table) as file:
        for number, row in enumerate(iter_rows(file, file.schema_arrow.names)):
            yield Record(number, 0, row)


def _file_name(record: Record) -> str:
    """The picture that a row names; HPEditError if it names none below its folder."""
    if record.fault:
        raise HPEditError(record.fault)
    name = record.row.get(FILE_NAME)
    if not isinstance(name, str) or not name.strip():
        raise HPEditError(f"has no {FILE_NAME}")
    if reason := why_outside(name.strip()):
        raise HPEditError(reason)
    return name.strip()
