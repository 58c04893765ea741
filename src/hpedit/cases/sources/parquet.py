"""Read photographs from parquet files with an image column, as Hugging Face datasets writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases.source_items import Skipped
from hpedit.cases.sources.base import Item, find_source_files
from hpedit.cases.sources.columns import COLUMNS, cells_of, row_instructions
from hpedit.cases.sources.rows import RowsSource, open_parquet, parse_row_range
from hpedit.errors import HPEditError
from hpedit.store.images import MAX_BYTES, decode_image, load_image
from hpedit.store.paths import inside
from hpedit.store.tables import PARQUET_DAMAGE, iter_rows

TEXTS = {name for names in COLUMNS.values() for name in names}


class ParquetSource(RowsSource):
    """Rows of a parquet file or folder; a picture is stored as bytes, or as a path relative to the file."""

    def files(self) -> list[Path]:
        """See `RowsSource`."""
        return find_source_files(self.path(str(self.section.parquet)), (".parquet",), "parquet file")

    def check(self, file: pq.ParquetFile, path: Path) -> None:
        """See `RowsSource`: the image column must exist."""
        image_column(file.schema_arrow, self.section.image_column, str(path))

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        name, rows = parse_row_range(item)
        with open_parquet(self.named[name], name) as file:
            column = image_column(file.schema_arrow, self.section.image_column, name)
            columns = [column, *(text for text in file.schema_arrow.names if text in TEXTS - {column})]
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
            cells = cells_of(row)
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
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
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
