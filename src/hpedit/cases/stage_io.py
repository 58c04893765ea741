"""Read and write the tables between the stages of a build.

1-photos/00-000003.parquet   photographs (and ready cases) of chunk 3 of source 0, and what was skipped
2-unique/photos.parquet      whether each photograph is kept; row group n belongs to the n-th file of 1-photos
3-labels/000003.parquet      categories of the kept photographs of that file
4-drafts/000003.parquet      their instruction candidates, and rejected texts
5-balance/chosen.parquet     the candidates chosen as cases; row group n becomes candidates/part-n.parquet

A photograph is addressed by file number and row. Memory holds only numbers, hashes and names for all at once.
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

from hpedit.cases.duplicates import image_fingerprints, source_id_of_pixels
from hpedit.cases.source_items import InstructionCandidate, Photo, Skipped, WrittenInstructions
from hpedit.records import Case
from hpedit.store.json_text import decode_json
from hpedit.store.parquet import check_parquet, open_parquet, writing_parquet
from hpedit.store.tables import CASE_COLUMNS, IMAGE, SOURCES, case_row, decode_cell, encode_cell, write_parquet_table

CHUNK = 64
"""Photographs or cases in a file: what a kill may lose, and what one worker holds in memory."""

TEXT, NUMBER, YES = pa.string(), pa.int32(), pa.bool_()

PHOTOS: dict[str, pa.DataType] = {
    **dict.fromkeys(("id", "reason", "origin", "licence", "source_id", "labels", "drafts", "sha"), TEXT),
    "phash": pa.uint64(),
    **dict.fromkeys(("others", "case_id", "group"), TEXT),
    **{name: IMAGE for name, kind in CASE_COLUMNS.items() if kind == IMAGE},
}
"""A row of 1-photos. `reason`: why it was skipped, None = usable. `drafts`: its instruction candidates as JSON. The
picture is `source`. Of ready cases alone: the other pictures, their [[sha, phash], ...] as JSON in `others`, `case_id`,
and the hash of sources and instruction in `group`."""
THIN = tuple(name for name, kind in PHOTOS.items() if kind != IMAGE)

UNIQUE = {"row": NUMBER, "id": TEXT, "sha": TEXT, "unit": TEXT, "kept": YES, "reason": TEXT}
LABELS = {"row": NUMBER, "category": TEXT, "probability": pa.float64()}
INSTRUCTIONS = {
    **{"row": NUMBER, "number": NUMBER, "task": TEXT, "instruction": TEXT, "category": TEXT, "id": TEXT},
    **{"wording": NUMBER, "language": TEXT, "requirement": TEXT, "by": TEXT, "reason": TEXT},
}
"""A row of 4-drafts, an instruction candidate. `reason`: why it was rejected, None = usable."""
CHOSEN = {"case_id": TEXT, "part": NUMBER, "row": NUMBER, "number": NUMBER, "unit": TEXT}
NOTES = {"photo": TEXT, "language": TEXT, "wording": NUMBER, "requirement": TEXT, "by": TEXT}
"""Columns of a candidate case besides those of a case."""
CANDIDATES = CASE_COLUMNS | NOTES

Row = dict[str, Any]


def write_photos(path: Path, items: Iterable[Photo | Case | Skipped], number: int) -> None:
    """Write one chunk of photographs of source `number`."""
    rows = (_photo_row(item, number) for item in items)
    # By place, not id: a repeated id is dropped and reported by the next stage.
    write_parquet_table(path, PHOTOS, ((str(place), row) for place, row in enumerate(rows)))


def _photo_row(item: Photo | Case | Skipped, number: int) -> Row:
    if isinstance(item, Skipped):
        return {"id": item.id, "reason": item.reason}
    if isinstance(item, Case):
        return _ready_row(item, number)
    row = _common_cells(item, item.image, item.labels, item.candidates)
    row["source_id"] = item.source_id or source_id_of_pixels(row["sha"])
    return row | {"id": item.id, "source": encode_cell(item.image)}


def _ready_row(case: Case, number: int) -> Row:
    candidate = InstructionCandidate(case.task, case.instruction, case.category, case.id)
    pictures = {name: cell for name, cell in case_row(case).items() if name in PHOTOS and PHOTOS[name] == IMAGE}
    row = _common_cells(case, case.source, [case.category] if case.category else [], [candidate])
    others = json.dumps([image_fingerprints(image) for image in case.sources[1:]])
    row |= {"id": f"{number}/{case.id}", "others": others, "case_id": case.id, "group": case.group_key}
    return pictures | row


def _common_cells(
    item: Photo | Case, image: Image.Image, labels: Sequence[str], candidates: Sequence[InstructionCandidate]
) -> Row:
    """The cells that photographs and ready cases have."""
    sha, phash = image_fingerprints(image)
    lists = {"labels": list(labels), "drafts": [asdict(candidate) for candidate in candidates]}
    return {
        **{"origin": item.origin, "licence": item.licence, "source_id": item.source_id, "sha": sha, "phash": phash},
        **{name: json.dumps(values, ensure_ascii=False) for name, values in lists.items()},
    }


def photo_of(row: Mapping[str, Any], image: Image.Image | None = None) -> Photo:
    """Read a photograph from a row of 1-photos; `image` replaces its picture if nobody needs it."""
    return Photo(
        id=row["id"],
        image=image or decode_cell(row["source"], f"picture of {row['id']}"),
        origin=row["origin"] or "",
        licence=row["licence"] or "",
        source_id=row["source_id"],
        labels=tuple(decode_json(row["labels"])),
        candidates=photo_instructions(row),
    )


def photo_instructions(row: Mapping[str, Any]) -> tuple[InstructionCandidate, ...]:
    """Read the instruction candidates that came with a photograph."""
    return tuple(InstructionCandidate(**candidate) for candidate in decode_json(row["drafts"] or "[]"))


def instruction_rows(row: int, category: str, written: WrittenInstructions) -> list[Row]:
    """Rows of INSTRUCTIONS for the photograph in `row`, whose category is the default."""
    rows: list[Row] = [
        {"row": row, "number": number, **asdict(candidate), "category": candidate.category or category}
        for number, candidate in enumerate(written.candidates)
    ]
    rows += [
        {"row": row, "number": number, "instruction": instruction, "reason": reason}
        for number, (instruction, reason) in enumerate(written.rejected, start=len(rows))
    ]
    return rows


def candidate_row(photo: Mapping[str, Any], candidate: Mapping[str, Any], case_id: str, unit: str) -> Row:
    """Combine a row of PHOTOS and one of INSTRUCTIONS to a row of CANDIDATES; pictures are copied as bytes.

    Args:
        photo: Row of PHOTOS.
        candidate: Row of INSTRUCTIONS.
        case_id: Of the new case.
        unit: The unit of splits and of the bootstrap, shared by duplicates.
    """
    row = {name: photo[name] for name in (*SOURCES, "target", "region", "origin", "licence")}
    row |= {name: candidate[name] for name in ("task", "instruction", "category", "language", "wording", "requirement")}
    return row | {"id": case_id, "source_id": unit, "photo": photo["id"], "by": candidate["by"]}


def read_chunk(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """Read the rows of one chunk's file."""
    check_parquet(path)
    rows: list[Row] = pq.read_table(path, columns=None if columns is None else list(columns)).to_pylist()
    return rows


def write_chunk(path: Path, columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> None:
    """Write one chunk's file without pictures, atomically and reproducibly."""
    schema = pa.schema(list(columns.items()))
    with writing_parquet(path, schema) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))


def write_row_groups(path: Path, columns: Mapping[str, pa.DataType], groups: Iterable[Sequence[Row]]) -> None:
    """Write a table with one row group a chunk, atomically."""
    schema = pa.schema(list(columns.items()))
    with writing_parquet(path, schema) as writer:
        for rows in groups:
            writer.write_table(pa.Table.from_pylist(list(rows), schema=schema), row_group_size=max(1, len(rows)))


def read_row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[list[Row]]:
    """The chunks of a file that `write_groups` wrote, one in memory at a time."""
    with open_parquet(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=None if columns is None else list(columns)).to_pylist()


def chunk_files(folder: Path) -> list[Path]:
    """The files of a stage in order, without temporary ones that a kill left."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def chunk_file(folder: Path, number: int) -> Path:
    """Path of a chunk's file by its number."""
    return folder / f"{number:06d}.parquet"
