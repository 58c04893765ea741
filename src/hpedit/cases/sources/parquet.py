"""Read photographs from parquet files with an image column, as Hugging Face datasets writes them."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases.source_items import Chunk, Skipped
from hpedit.cases.sources.base import Item, OpenedSource, files_by_name, find_source_files, hash_files
from hpedit.cases.sources.column_map import ColumnMap
from hpedit.cases.sources.columns import COLUMNS, cells_of, row_instructions
from hpedit.errors import HPEditError
from hpedit.store.images import MAX_BYTES, decode_image, load_image
from hpedit.store.json_text import decode_json
from hpedit.store.parquet import open_parquet as open_checked
from hpedit.store.paths import inside
from hpedit.store.tables import PARQUET_DAMAGE, iter_rows

CHUNKS_A_GROUP = 16
"""A row group is always read from its start, so more chunks would reread its first rows too often."""


def open_parquet(path: Path, name: str) -> pq.ParquetFile:
    """Open a parquet file; HPEditError with `name` if it is unreadable."""
    try:
        return open_checked(path, pre_buffer=False, buffer_size=1 << 20)
    except PARQUET_DAMAGE as error:
        raise HPEditError(f"{name} is not a readable parquet file: {error}", hint="download the file again") from error


def row_ranges(file: pq.ParquetFile, size: int, most: int) -> Iterator[range]:
    """Split the first `most` rows of a file into ranges of `size`, larger in large row groups."""
    start = 0
    for group in range(file.metadata.num_row_groups):
        stop = min(start + file.metadata.row_group(group).num_rows, most)
        step = max(size, -(-(stop - start) // CHUNKS_A_GROUP))
        for first in range(start, stop, step):
            yield range(first, min(first + step, stop))
        start = stop


def parse_row_range(item: str) -> tuple[str, range]:
    """Parse an item START:STOP:FILE of a parquet source into file and range of rows."""
    start, stop, name = item.split(":", 2)
    return name, range(int(start), int(stop))


class RowsSource(OpenedSource):
    """Base class: reads rows of parquet files."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The parquet files, sorted; HPEditError if there are none."""

    def check(self, file: pq.ParquetFile, path: Path) -> None:
        """HPEditError if a file lacks a required column."""

    @cached_property
    def named(self) -> dict[str, Path]:
        """The files by name."""
        return files_by_name(self.files())

    def fingerprint(self) -> str:
        """See `OpenedSource`; pictures beside the files are not included."""
        return hash_files(self.named)

    def items(self) -> Iterator[str]:
        """See `OpenedSource`: rows."""
        return self._ranges(1)

    def chunks(self, size: int = 64) -> Iterator[Chunk]:
        """See `OpenedSource`: a chunk is one range of rows."""
        for number, item in enumerate(self._ranges(size)):
            yield Chunk(self.number, number, (item,))

    def _ranges(self, size: int) -> Iterator[str]:
        left = self.section.count or sys.maxsize
        for name, path in self.named.items():
            with open_parquet(path, str(path)) as file:
                self.check(file, path)
                for rows in row_ranges(file, size, left):
                    yield f"{rows.start}:{rows.stop}:{name}"
                left -= min(left, file.metadata.num_rows)


TEXTS = {name for names in COLUMNS.values() for name in names}


class ParquetSource(RowsSource):
    """Rows of a parquet file or folder; a picture is stored as bytes, or as a path relative to the file."""

    def files(self) -> list[Path]:
        """See `RowsSource`."""
        return find_source_files(self.path(str(self.section.parquet)), (".parquet",), "parquet file")

    def check(self, file: pq.ParquetFile, path: Path) -> None:
        """See `RowsSource`: the image column must exist."""
        image_column(file.schema_arrow, self._wanted(file.schema_arrow), str(path))

    @cached_property
    def _columns(self) -> ColumnMap:
        return ColumnMap(self.section)

    def _wanted(self, schema: pa.Schema) -> str | None:
        """The image column that the recipe names, or a known layout."""
        return self.section.image_column or self._columns.image(schema.names)

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        name, rows = parse_row_range(item)
        with open_parquet(self.named[name], name) as file:
            column = image_column(file.schema_arrow, self._wanted(file.schema_arrow), name)
            texts = TEXTS | set(self._columns.texts(file.schema_arrow.names))
            columns = [column, *(text for text in file.schema_arrow.names if text in texts - {column})]
            classes = _class_names(file.schema_arrow)
            number = rows.start
            try:
                for row in iter_rows(file, columns, rows):
                    yield from self._item(f"{name}:{number:06d}", row.pop(column), _named(row, classes), name)
                    number += 1
                why = "they are missing"
            except PARQUET_DAMAGE as error:
                why = str(error)
            if number < rows.stop:
                left = f"{name}:{number:06d}-{rows.stop - 1:06d}"
                yield Skipped(self.id(left), f"these rows are damaged: {' '.join(why.split())}")

    def _item(self, name: str, cell: Any, row: Mapping[str, Any], file: str) -> Iterator[Item]:
        photo_id = self.id(name)
        try:
            cells = cells_of(self._columns.rename(row))
            image, path = self._decode(cell, name, self.named[file].parent)
        except HPEditError as error:
            yield Skipped(photo_id, error.message)
            return
        candidates, skipped = row_instructions(cells, photo_id)
        yield self.make_photo(photo_id, image, f"{file}/{path}" if path else name, cells, *candidates)
        yield from skipped

    def _decode(self, cell: Any, name: str, folder: Path) -> tuple[Image.Image, str]:
        """Decode an image cell; returns the picture and its name in the cell ("" = none)."""
        if isinstance(cell, Mapping):
            data, path = cell.get("bytes"), str(cell.get("path") or "")
        else:
            data, path = cell, ""
        if data is None and path:
            return load_image(inside(folder, path), path), path
        if data is None:
            raise HPEditError(f"{name} has no picture")
        if len(data) > MAX_BYTES:
            raise HPEditError(f"{name} is too large: {len(data):,} bytes")
        # A path is kept as a name only; an absolute one is from somebody's disk.
        return decode_image(data, name), "" if path.startswith("/") or ".." in path else path


def image_column(schema: pa.Schema, wanted: str | None, name: str) -> str:
    """Find the image column: the wanted one, or the only one; HPEditError otherwise."""
    if wanted is not None:
        if wanted not in schema.names:
            raise HPEditError(f"{name} has no column {wanted!r}", hint=f"it has {', '.join(schema.names)}")
        return wanted
    features = _features(schema)
    found = [
        field.name
        for field in schema
        if (features.get(field.name) or {}).get("_type") == "Image"
        or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
        or pa.types.is_binary(field.type)
        or pa.types.is_large_binary(field.type)
    ]
    if len(found) != 1:
        what = f"several image columns: {', '.join(found)}" if found else "no image column"
        hint = "set image_column; a table of cases is read by the key cases" if found else "is it another table?"
        raise HPEditError(f"{name} has {what}", hint=hint)
    return str(found[0])


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of the columns; empty if missing or unreadable."""
    try:
        described = decode_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> its class names, for columns of class indices."""
    features = _features(schema).items()
    return {name: list(what["names"]) for name, what in features if isinstance(what, dict) and what.get("names")}


def _named(row: Mapping[str, Any], classes: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with class names in place of indices; -1 is Hugging Face's "unknown"."""
    named = dict(row)
    for column in classes.keys() & row.keys():
        value = row[column]
        if isinstance(value, int):
            named[column] = classes[column][value] if 0 <= value < len(classes[column]) else None
    return named
