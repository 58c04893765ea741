"""Read and write tables of cases, edits and scores (parquet) and of ratings (JSONL, CSV).

The parquet schema has Hugging Face's feature description, so that `datasets.load_dataset("parquet", data_files=...)`
shows images as images. Images are PNG: lossless, since the judge must see what the editor made. Ratings are JSONL or
CSV, which people and spreadsheets write too. The same records give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import MAX_SOURCES, Case, Edit, OracleKey, Rating, Score
from hpedit.store.atomic import atomic_write, read_jsonl
from hpedit.store.csv_rows import neutralise, restore
from hpedit.store.images import decode_image, png_bytes
from hpedit.store.json_text import decode_json
from hpedit.store.parquet import open_parquet, writing_parquet

ROWS_PER_GROUP = 256
"""Rows in memory at once, and the unit that a reader can skip: some 400 MB at 1024 px."""

PARQUET_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises on damaged files."""

R = TypeVar("R")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Type of an image column, as in Hugging Face datasets, with the file's bytes inside."""
SOURCES = ("source", "source_2", "source_3")
"""Columns of a case's source images."""
assert len(SOURCES) == MAX_SOURCES

CASE_COLUMNS = {name: pa.string() for name in ("id", "task", "instruction")}
CASE_COLUMNS |= dict.fromkeys(SOURCES, IMAGE)
CASE_COLUMNS |= {name: pa.string() for name in ("source_id", "category", "origin", "licence")}
CASE_COLUMNS |= {"target": IMAGE, "region": IMAGE}
"""Columns of a table of cases; a table may have more."""
_EDITS = {"id": pa.string(), "case_id": pa.string(), "editor": pa.string(), "seed": pa.int64(), "image": IMAGE}
_SCORES = {
    "edit_id": pa.string(),
    "scorer": pa.string(),
    "value": pa.float64(),
    "std": pa.float64(),
    "reason": pa.string(),
    # JSON text: the questions differ between scorers, and a column each would give every scorer its own schema.
    "raw": pa.string(),
}
_RATING_COLUMNS = ("edit_id", "rater", "score", "flags", "time", "simulated")


def write_cases(path: Path | str, cases: Iterable[Case]) -> int:
    """Write cases as parquet, atomically; returns how many. HPEditError for a duplicate id; the old file stays."""
    return write_parquet_table(Path(path), CASE_COLUMNS, ((case.id, case_row(case)) for case in cases))


def iter_cases(path: Path | str, rows: range | None = None) -> Iterator[Case]:
    """Iterate over the cases of a parquet file, or of some of its rows, one row group in memory at a time."""
    yield from read_parquet_table(Path(path), CASE_COLUMNS, _case_from_row, rows)


def read_cases(path: Path | str) -> list[Case]:
    """Read all cases of a parquet file, in order."""
    return list(iter_cases(path))


def write_edits(path: Path | str, edits: Iterable[Edit]) -> int:
    """Write edits as parquet, atomically; returns how many. HPEditError for a duplicate id; the old file stays."""
    return write_parquet_table(Path(path), _EDITS, ((edit.id, _edit_row(edit)) for edit in edits))


def iter_edits(path: Path | str) -> Iterator[Edit]:
    """Iterate over the edits of a parquet file, one row group in memory at a time."""
    yield from read_parquet_table(Path(path), _EDITS, _edit_from_row)


def write_scores(path: Path | str, scores: Iterable[Score]) -> int:
    """Write scores as parquet, atomically; returns how many. HPEditError if a scorer scores an edit twice."""
    return write_parquet_table(
        Path(path), _SCORES, ((f"{score.edit_id} by {score.scorer}", _score_row(score)) for score in scores)
    )


def read_scores(path: Path | str) -> list[Score]:
    """Read all scores of a parquet file, in order."""
    return list(read_parquet_table(Path(path), _SCORES, _score_from_row))


def write_ratings(path: Path | str, ratings: Iterable[Rating]) -> int:
    """Write ratings as JSONL or, if the path ends in .csv, as CSV with ;-separated flags; returns how many."""
    path = Path(path)
    rows = [_rating_row(rating) for rating in ratings]
    if _is_csv_path(path):
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, _RATING_COLUMNS, lineterminator="\n")
        writer.writeheader()
        # Rater names are untrusted, and such tables are opened in spreadsheets (CSV injection).
        names = [{**row, "edit_id": neutralise(row["edit_id"]), "rater": neutralise(row["rater"])} for row in rows]
        writer.writerows({**row, "flags": ";".join(row["flags"])} for row in names)
        atomic_write(path, buffer.getvalue())
    else:
        atomic_write(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    return len(rows)


def read_ratings(path: Path | str) -> list[Rating]:
    """Read all ratings of a .jsonl or .csv file, in order; HPEditError with file and line for a bad one."""
    path = Path(path)
    if not path.exists():
        raise HPEditError(f"{path} does not exist")
    if not _is_csv_path(path):
        return [_rating_from_row(row, f"{path}, record {number}") for number, row in enumerate(read_jsonl(path), 1)]
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        return [_rating_from_row(_restored_cells(row), f"{path}:{reader.line_num}") for row in reader]


def _restored_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: restore(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _is_csv_path(path: Path) -> bool:
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise HPEditError(f"{path} is neither .jsonl nor .csv", hint="ratings are kept as JSONL or CSV")
    return path.suffix.lower() == ".csv"


def _rating_row(rating: Rating) -> dict[str, Any]:
    values = (rating.edit_id, rating.rater, rating.score, list(rating.flags), rating.time, rating.simulated)
    return dict(zip(_RATING_COLUMNS, values, strict=True))


def _rating_from_row(row: Mapping[str, Any], where: str) -> Rating:
    missing = [name for name in _RATING_COLUMNS[:3] if row.get(name) in (None, "")]
    if missing:
        raise HPEditError(f"{where}: no {' and no '.join(missing)}", hint="a rating has at least edit_id, rater, score")
    flags = row.get("flags") or ()
    try:
        return Rating(
            edit_id=str(row["edit_id"]),
            rater=str(row["rater"]),
            score=float(row["score"]),
            flags=tuple(flag for flag in flags.split(";") if flag) if isinstance(flags, str) else tuple(flags),
            time=str(row.get("time") or ""),
            simulated=str(row.get("simulated") or "").lower() == "true",
        )
    except HPEditError as error:
        raise HPEditError(f"{where}: {error.message}", hint=error.hint) from error
    except ValueError as error:
        raise HPEditError(f"{where}: score {row['score']!r} is not a number") from error


def case_row(case: Case) -> dict[str, Any]:
    """A case as a table row, by the names of `CASE_COLUMNS`; missing values are left out."""
    row: dict[str, Any] = {name: getattr(case, name) for name in CASE_COLUMNS if hasattr(case, name)}
    for name, image in zip(SOURCES, case.sources, strict=False):
        row[name] = encode_cell(image)
    if case.oracle is not None:
        row |= {"target": encode_cell(case.oracle.target), "region": encode_cell(case.oracle.region)}
    return row


def _case_from_row(row: Mapping[str, Any]) -> Case:
    sources = tuple(decode_cell(row[name], f"{name} of case {row['id']}") for name in SOURCES if row[name] is not None)
    oracle = None
    if row["target"] is not None:
        target = decode_cell(row["target"], f"target of case {row['id']}")
        oracle = OracleKey(target=target, region=decode_cell(row["region"], f"region of case {row['id']}").convert("L"))
    texts = {name: row[name] or "" for name, kind in CASE_COLUMNS.items() if kind == pa.string()}
    return Case(**texts, sources=sources, oracle=oracle)


def _edit_row(edit: Edit) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(edit, name) for name in _EDITS}
    return row | {"image": encode_cell(edit.image)}


def _edit_from_row(row: Mapping[str, Any]) -> Edit:
    return Edit(**{**row, "image": decode_cell(row["image"], f"edit {row['id']}")})


def _score_row(score: Score) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(score, name) for name in _SCORES}
    return row | {"raw": json.dumps(dict(score.raw), sort_keys=True, allow_nan=False)}


def _score_from_row(row: Mapping[str, Any]) -> Score:
    return Score(**{**row, "raw": decode_json(row["raw"] or "{}")})


def encode_cell(image: Image.Image) -> dict[str, bytes | None]:
    """Encode an image as a cell of an `IMAGE` column: PNG."""
    return {"bytes": png_bytes(image), "path": None}


def decode_cell(cell: Mapping[str, Any] | None, name: str) -> Image.Image:
    """Decode the image in a cell of an `IMAGE` column; `name` is its name in errors."""
    if cell is None or cell["bytes"] is None:
        raise HPEditError(f"the {name} has no image bytes in the table", hint="embed the images, not their paths")
    return decode_image(cell["bytes"], name)


def _huggingface_schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """Arrow schema with the features by which Hugging Face datasets recognises images."""
    features: dict[str, dict[str, str]] = {}
    for name, kind in columns.items():
        # Hugging Face names float64 as numpy does.
        dtype = {"double": "float64"}.get(str(kind), str(kind))
        features[name] = {"_type": "Image"} if kind == IMAGE else {"dtype": dtype, "_type": "Value"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(list(columns.items()), metadata=metadata)


def write_parquet_table(
    path: Path, columns: Mapping[str, pa.DataType], keyed_rows: Iterable[tuple[str, dict[str, Any]]]
) -> int:
    """Write (key, row) pairs as a parquet table, atomically; returns how many.

    HPEditError for a duplicate key; the old file stays. The same rows give the same bytes.
    """
    schema = _huggingface_schema(columns)
    seen: set[str] = set()
    rows = iter(keyed_rows)
    with writing_parquet(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, ROWS_PER_GROUP)):
            for key, _ in chunk:
                if key in seen:
                    raise HPEditError(f"{path}: {key} appears twice", hint="ids must be unique")
                seen.add(key)
            writer.write_table(pa.Table.from_pylist([row for _, row in chunk], schema=schema))
    return len(seen)


def read_parquet_table(
    path: Path, columns: Mapping[str, pa.DataType], make: Callable[[Mapping[str, Any]], R], rows: range | None = None
) -> Iterator[R]:
    """Read a parquet table: yields `make(row)` for each row, or for `rows` only, one row group in memory at a time.

    HPEditError if the file is missing, damaged, or lacks a column.
    """
    if not path.exists():
        raise HPEditError(f"{path} does not exist")
    try:
        with open_parquet(path) as file:
            missing = sorted(set(columns) - set(file.schema_arrow.names))
            if missing:
                raise HPEditError(f"{path} lacks the columns {', '.join(missing)}", hint="is it another kind of table?")
            for row in iter_rows(file, list(columns), rows):
                yield make(row)
    except PARQUET_DAMAGE as error:
        raise HPEditError(f"{path} is not a readable parquet file: {error}", hint="write it again") from error


def iter_rows(file: pq.ParquetFile, columns: list[str], rows: range | None = None) -> Iterator[dict[str, Any]]:
    """Rows of an open parquet file, or of a contiguous range, reading only the row groups that contain it."""
    rows = range(file.metadata.num_rows) if rows is None else rows
    groups: list[int] = []
    before = at = 0
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if at < rows.stop and at + count > rows.start:
            before = before if groups else at
            groups.append(group)
        at += count
    at = before
    size = min(ROWS_PER_GROUP, max(1, len(rows)))
    for batch in file.iter_batches(batch_size=size, row_groups=groups, columns=columns):
        if at >= rows.stop:
            return
        first = max(0, rows.start - at)
        yield from batch.slice(first, max(0, rows.stop - at - first)).to_pylist()
        at += batch.num_rows
