"""Parquet files with a column of pictures, as Hugging Face datasets writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases.photos import Photo, Skipped
from hpedit.cases.sources.base import Item, files_of
from hpedit.cases.sources.columns import COLUMNS, cells_of, labels_of
from hpedit.cases.sources.drafts import read_drafts
from hpedit.cases.sources.rows import RowsSource, open_parquet, range_of
from hpedit.errors import HPEditError
from hpedit.store.images import MAX_BYTES, decode_image, load_image
from hpedit.store.paths import inside
from hpedit.store.tables import PARQUET_DAMAGE, iter_rows

TEXTS = {name for names in COLUMNS.values() for name in names}


class ParquetSource(RowsSource):
    """Rows of one file, or of all below a folder; the picture's bytes are in the row, or a path beside the file."""

    def files(self) -> list[Path]:
        """See `RowsSource`."""
        return files_of(self.path(str(self.section.parquet)), (".parquet",), "parquet file")

    def check(self, file: pq.ParquetFile, path: Path) -> None:
        """See `RowsSource`: there is one column of pictures, or the one that the recipe names."""
        image_column(file.schema_arrow, self.section.image_column, str(path))

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        name, rows = range_of(item)
        with open_parquet(self.named[name], name) as file:
            column = image_column(file.schema_arrow, self.section.image_column, name)
            columns = [column, *(text for text in file.schema_arrow.names if text in TEXTS - {column})]
            classes = _class_names(file.schema_arrow)
            number = rows.start
            try:
                for row in iter_rows(file, columns, rows):
                    yield from self._item(f"{name}:{number:06d}", row.pop(column), _named(row, classes), name)
                    number += 1
                why = "they are not there"
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
        drafts, skipped = read_drafts(cells, photo_id)
        origin = self.origin(cells, f"{file}/{path}" if path else name)
        source_id = cells.get("source_id", "")
        yield Photo(photo_id, image, origin, self.licence(cells), source_id, labels_of(cells), drafts)
        yield from skipped

    def _decode(self, cell: Any, name: str, folder: Path) -> tuple[Image.Image, str]:
        """The picture of a cell, and the name that the cell gives it ("" = none)."""
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
        # A path is kept only as a name; one that looks like a place on somebody's disk says nothing.
        return decode_image(data, name), "" if path.startswith("/") or ".." in path else path


def image_column(schema: pa.Schema, wanted: str | None, name: str) -> str:
    """The column of pictures: the one that is wanted, or the only one; HPEditError otherwise."""
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
        what = f"several columns of pictures: {', '.join(found)}" if found else "no column of pictures"
        hint = "name one: image_column; a table of cases is read by the key cases" if found else "is it another table?"
        raise HPEditError(f"{name} has {what}", hint=hint)
    return str(found[0])


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of the columns; empty where there is none that can be read."""
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Column -> names of the classes whose numbers it holds."""
    features = _features(schema).items()
    return {name: list(what["names"]) for name, what in features if isinstance(what, dict) and what.get("names")}


def _named(row: Mapping[str, Any], classes: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with the names of classes in the place of their numbers; -1 is Hugging Face's "unknown"."""
    named = dict(row)
    for column in classes.keys() & row.keys():
        value = row[column]
        if isinstance(value, int):
            named[column] = classes[column][value] if 0 <= value < len(classes[column]) else None
    return named
