"""The tables between the stages of a build: one file a chunk for what is heavy, one file a stage for what is decided.

1-photos/00-000003.parquet   photographs (and ready cases) of chunk 3 of source 0, and what was skipped there
2-unique/photos.parquet      of each photograph whether it stays; row group n belongs to the n-th file of 1-photos
3-labels/000003.parquet      categories of the photographs that stay of the file with that number
4-drafts/000003.parquet      their instructions, and what was written but rejected
5-balance/chosen.parquet     the drafts that become candidates; row group n becomes candidates/part-n.parquet

A photograph is named by its place: number of the file, row in it. Only numbers, hashes and names of it are ever held
in memory for all photographs at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases.duplicates import fingerprints, unit_of
from hpedit.cases.instructions.written import Written
from hpedit.cases.photos import Draft, Photo, Skipped
from hpedit.records import Case
from hpedit.store.atomic import replacing
from hpedit.store.tables import CASE_COLUMNS, IMAGE, SOURCES, case_row, decode_cell, encode_cell, write_parquet_table

CHUNK = 64
"""Photographs, or candidates, in a file: what a kill may lose, and what one worker holds in memory."""

TEXT, NUMBER, YES = pa.string(), pa.int32(), pa.bool_()

PHOTOS: dict[str, pa.DataType] = {
    "id": TEXT,
    # Why it was skipped; the rest is then empty. None = usable.
    "reason": TEXT,
    "origin": TEXT,
    "licence": TEXT,
    "source_id": TEXT,
    "labels": TEXT,
    "drafts": TEXT,
    "sha": TEXT,
    "phash": pa.uint64(),
    # Fingerprints of a ready case's further source pictures, [[sha, phash], ...] as JSON.
    "others": TEXT,
    # Of a ready case alone: its id, and the hash of sources and instruction.
    "case_id": TEXT,
    "group": TEXT,
} | {name: IMAGE for name, kind in CASE_COLUMNS.items() if kind == IMAGE}
"""A photograph's picture is its column "source"; the other pictures are a ready case's."""
THIN = tuple(name for name, kind in PHOTOS.items() if kind != IMAGE)

UNIQUE = {"row": NUMBER, "id": TEXT, "sha": TEXT, "unit": TEXT, "kept": YES, "reason": TEXT}
LABELS = {"row": NUMBER, "category": TEXT, "probability": pa.float64()}
DRAFTS = {
    "row": NUMBER,
    "number": NUMBER,
    "task": TEXT,
    "instruction": TEXT,
    "category": TEXT,
    "id": TEXT,
    "wording": NUMBER,
    "language": TEXT,
    "requirement": TEXT,
    "by": TEXT,
    # Why it was rejected; None = usable.
    "reason": TEXT,
}
CHOSEN = {"case_id": TEXT, "part": NUMBER, "row": NUMBER, "number": NUMBER, "unit": TEXT}
NOTES = {"photo": TEXT, "language": TEXT, "wording": NUMBER, "requirement": TEXT, "by": TEXT}
"""Columns of a candidate beside those of a case."""
CANDIDATES = CASE_COLUMNS | NOTES

Row = dict[str, Any]


def write_photos(path: Path, items: Iterable[Photo | Case | Skipped], number: int) -> None:
    """Write one chunk of source `number`; pictures are held as long as the chunk is written."""
    rows = (_photo_row(item, number) for item in items)
    # The same id twice is dropped, and said, by the next stage; here a row is known by its place.
    write_parquet_table(path, PHOTOS, ((str(place), row) for place, row in enumerate(rows)))


def _photo_row(item: Photo | Case | Skipped, number: int) -> Row:
    if isinstance(item, Skipped):
        return {"id": item.id, "reason": item.reason}
    if isinstance(item, Case):
        return _ready_row(item, number)
    sha, phash = fingerprints(item.image)
    return {
        "id": item.id,
        "origin": item.origin,
        "licence": item.licence,
        "source_id": item.source_id or unit_of(sha),
        "labels": json.dumps(item.labels, ensure_ascii=False),
        "drafts": _dump(item.drafts),
        "sha": sha,
        "phash": phash,
        "source": encode_cell(item.image),
    }


def _ready_row(case: Case, number: int) -> Row:
    sha, phash = fingerprints(case.source)
    draft = Draft(case.task, case.instruction, case.category, case.id)
    pictures = {name: cell for name, cell in case_row(case).items() if name in PHOTOS and PHOTOS[name] == IMAGE}
    return pictures | {
        "id": f"{number}/{case.id}",
        "origin": case.origin,
        "licence": case.licence,
        "source_id": case.source_id,
        "labels": json.dumps([case.category] if case.category else [], ensure_ascii=False),
        "drafts": _dump([draft]),
        "sha": sha,
        "phash": phash,
        "others": json.dumps([fingerprints(image) for image in case.sources[1:]]),
        "case_id": case.id,
        "group": case.group_key,
    }


def _dump(drafts: Sequence[Draft]) -> str:
    return json.dumps([asdict(draft) for draft in drafts], ensure_ascii=False)


def photo_of(row: Mapping[str, Any], image: Image.Image | None = None) -> Photo:
    """The photograph of a row of 1-photos; `image` stands for its picture where nobody will look at it."""
    return Photo(
        id=row["id"],
        image=image or decode_cell(row["source"], f"picture of {row['id']}"),
        origin=row["origin"] or "",
        licence=row["licence"] or "",
        source_id=row["source_id"],
        labels=tuple(json.loads(row["labels"])),
        drafts=drafts_of(row),
    )


def drafts_of(row: Mapping[str, Any]) -> tuple[Draft, ...]:
    """The instructions that came with a photograph."""
    return tuple(Draft(**draft) for draft in json.loads(row["drafts"] or "[]"))


def draft_rows(row: int, category: str, written: Written) -> list[Row]:
    """Rows of DRAFTS of the photograph in `row`; a draft without a category of its own has the photograph's."""
    rows: list[Row] = [
        {"row": row, "number": number, **asdict(draft), "category": draft.category or category}
        for number, draft in enumerate(written.drafts)
    ]
    rows += [
        {"row": row, "number": number, "instruction": instruction, "reason": reason}
        for number, (instruction, reason) in enumerate(written.rejected, start=len(rows))
    ]
    return rows


def candidate_row(photo: Mapping[str, Any], draft: Mapping[str, Any], case_id: str, unit: str) -> Row:
    """A row of CANDIDATES; the pictures' bytes are passed on as they lie.

    Args:
        photo: Row of PHOTOS.
        draft: Row of DRAFTS.
        case_id: As the balance has chosen it.
        unit: The unit of splits and of the bootstrap; photographs that repeat one another share it.
    """
    row = {name: photo[name] for name in (*SOURCES, "target", "region", "origin", "licence")}
    row |= {name: draft[name] for name in ("task", "instruction", "category", "language", "wording", "requirement")}
    return row | {"id": case_id, "source_id": unit, "photo": photo["id"], "by": draft["by"]}


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of one chunk's file."""
    rows: list[Row] = pq.read_table(path, columns=None if columns is None else list(columns)).to_pylist()
    return rows


def write_rows(path: Path, columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> None:
    """Write one chunk's file without pictures, atomically; the same rows give the same bytes."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(list(columns.items()))), temporary)


def write_groups(path: Path, columns: Mapping[str, pa.DataType], groups: Iterable[Sequence[Row]]) -> None:
    """Write a file of one row group a chunk, atomically."""
    schema = pa.schema(list(columns.items()))
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for rows in groups:
            writer.write_table(pa.Table.from_pylist(list(rows), schema=schema), row_group_size=max(1, len(rows)))


def read_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[list[Row]]:
    """The chunks of a file that `write_groups` wrote, one in memory at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=None if columns is None else list(columns)).to_pylist()


def part_files(folder: Path) -> list[Path]:
    """The files of a stage, in order; a temporary one that a kill left is none."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def numbered(folder: Path, number: int) -> Path:
    """The file of a chunk by its number."""
    return folder / f"{number:06d}.parquet"
