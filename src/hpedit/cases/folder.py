"""Read cases from a build, a dataset, a folder with cases.parquet, or a table; or draw them lazily.

    folder = CasesFolder(Path("runs/cases"))
    folder.kept()             # to train and evaluate on: what the filter kept
    folder.candidates()       # to rate and to fit a scorer on: all edited cases, with
    folder.edits()            # the base editor's edits

Cases are read one at a time. Only a build has edits and cases that were not kept.

    cases = lazy_cases(folder, index=Path("runs/train/cases.json"))     # decoded when drawn; duplicates count as one
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpedit.cases import stage_io
from hpedit.cases.sources.ready import case_files
from hpedit.cases.steps import BALANCE, CANDIDATES, DECISIONS, EDITS, FILTER
from hpedit.errors import HPEditError
from hpedit.records import Case, Edit
from hpedit.store.atomic import atomic_write, read_json
from hpedit.store.lazy_rows import LazyRows, Place
from hpedit.store.parquet import check_parquet, open_parquet
from hpedit.store.run_folder import hash_path
from hpedit.store.tables import PARQUET_DAMAGE, SOURCES, iter_cases, iter_edits

RESUME = "run `hpedit cases build` with its recipe again to continue it"


class CasesFolder:
    """Cases on disk, by the path of a folder or table."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise HPEditError(f"{self.path} does not exist", hint="name a table or a folder of cases")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def built(self) -> bool:
        """Whether it is the output of `hpedit cases build`, finished or not."""
        return (self.path / BALANCE).is_dir()

    def case_files(self) -> list[Path]:
        """Tables of all candidate cases of a build, else of all cases; HPEditError if there is none."""
        if not self.built:
            return case_files(self.path)
        self._require(BALANCE)
        return stage_io.chunk_files(self.path / CANDIDATES)

    def edit_files(self) -> list[Path]:
        """Tables of a build's edits; HPEditError if it has none."""
        if not self.built:
            raise HPEditError(f"{self.path} is no output of `hpedit cases build`: no edits", hint="set --edits")
        self._require(EDITS)
        files = stage_io.chunk_files(self.path / EDITS)
        if not files:
            raise HPEditError(f"{self.path} was built without edits", hint="set edits.editor in its recipe")
        return files

    def candidates(self) -> Iterator[Case]:
        """Read all candidate cases of a build, else all cases."""
        for file in self.case_files():
            yield from iter_cases(file)

    def edits(self) -> Iterator[Edit]:
        """Read the build's edits, k of each candidate case."""
        for file in self.edit_files():
            yield from iter_edits(file)

    def kept(self) -> Iterator[Case]:
        """Read the cases that the filter kept; all without a filter."""
        for file, kept in zip(self.case_files(), self.kept_ids(), strict=True):
            if kept is None or kept:
                yield from (case for case in iter_cases(file) if kept is None or case.id in kept)

    def kept_ids(self) -> list[set[str] | None]:
        """For each of `case_files`, the ids of the cases that the filter kept; None without a build."""
        files = self.case_files()
        if not self.built:
            return [None] * len(files)
        self._require(FILTER)
        decisions = stage_io.read_row_groups(self.path / FILTER / DECISIONS, ("case_id", "kept"))
        return [{row["case_id"] for row in rows if row["kept"]} for _, rows in zip(files, decisions, strict=True)]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content of the kept cases, independent of a build's other files."""
        if not self.built:
            return hash_path(self.path)
        self._require(FILTER)
        parts_of = (hash_path(self.path / CANDIDATES), hash_path(self.path / FILTER / DECISIONS))
        return hashlib.sha256("".join(parts_of).encode()).hexdigest()

    def _require(self, stage: str) -> None:
        """HPEditError while a stage is unfinished."""
        record = self.path / stage / "stage.json"
        if not record.exists() or "counts" not in read_json(record):
            raise HPEditError(f"{self.path} is not finished: {stage} is missing", hint=RESUME)


def load_cases(path: Path) -> list[Case]:
    """Load the kept cases of a folder, or the cases of a parquet file."""
    return list(CasesFolder(path).kept())


BATCH = 32
"""Rows in memory at once while a table is scanned."""


def lazy_cases(folder: CasesFolder, index: Path | None = None) -> LazyRows[Case]:
    """The distinct cases of `folder.kept()`, decoded on access.

    Args:
        folder: Of the cases.
        index: File that caches their places; None = scan each time.

    Raises:
        HPEditError: a table is damaged, or holds no cases.
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
class CaseHeader:
    """Id, task and source of a case, without its pictures."""

    id: str
    task: str
    source_id: str


def case_headers(cases: Sequence[Case]) -> list[CaseHeader]:
    """The header of each case, in order; no picture of lazy cases is decoded. HPEditError for a damaged table."""
    if not isinstance(cases, LazyRows):
        return [CaseHeader(case.id, case.task, case.source_id) for case in cases]
    columns = [field.name for field in fields(CaseHeader)]
    found: dict[int, list[CaseHeader]] = {}
    for number in {file for file, _ in cases.places}:
        try:
            check_parquet(cases.files[number])
            rows = pq.read_table(cases.files[number], columns=columns).to_pylist()
        except (OSError, *PARQUET_DAMAGE) as error:
            raise HPEditError(f"{cases.files[number]} cannot be read: {error}", hint="write it again") from error
        found[number] = [CaseHeader(*(row[name] or "" for name in columns)) for row in rows]
    return [found[file][row] for file, row in cases.places]


def select_cases(cases: Sequence[Case], numbers: Sequence[int]) -> Sequence[Case]:
    """Select cases by index; lazy ones stay lazy."""
    if isinstance(cases, LazyRows):
        return cases.select(numbers)
    return [cases[number] for number in numbers]


def _state(files: Sequence[Path]) -> list[list[Any]]:
    """Name, size and modification time of each table, to detect changes."""
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _remembered(index: Path | None, files: Sequence[Path]) -> list[Place] | None:
    if index is None or not index.is_file():
        return None
    try:
        found = read_json(index)
        known = found["tables"] == _state(files)
        return [(int(file), int(row)) for file, row in found["places"]] if known else None
    except (HPEditError, KeyError, TypeError, ValueError):
        # The index only saves time: a damaged one is rebuilt.
        return None


def _different(files: Sequence[Path], kept: Sequence[set[str] | None]) -> Iterator[Place]:
    """Places of the kept cases, without duplicates."""
    seen: set[bytes] = set()
    for number, (file, wanted) in enumerate(zip(files, kept, strict=True)):
        for row, (name, key) in enumerate(_keys(file)):
            if (wanted is None or name in wanted) and key not in seen:
                seen.add(key)
                yield number, row


def _keys(file: Path) -> Iterator[tuple[str, bytes]]:
    """Id and hash of source files and instruction of each row.

    Equal pixels in two encodings count as two cases: they share no baseline, which does no harm.
    """
    columns = ["id", "instruction", *SOURCES]
    try:
        with open_parquet(file) as table:
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
