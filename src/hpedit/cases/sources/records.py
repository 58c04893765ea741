"""Read rows of users' CSV and JSONL files with their line and offset, and read single rows again by it.

A bad row does not end the file: its record says what is wrong.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from hpedit.errors import HPEditError
from hpedit.store.csv_rows import restore
from hpedit.store.json_text import decode_json

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
MAX_LINE = 1 << 24
"""Bytes of a line; a longer one is no row of names and instructions."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a CSV or JSONL file."""

    line: int
    """Its first line in the file, from 1."""
    offset: int
    """Byte offset of that line."""
    row: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    """Why it is unreadable; `row` is then empty."""


class RecordFile:
    """A CSV, TSV or JSONL file; HPEditError for another suffix, a missing file, or a CSV without a header."""

    def __init__(self, path: Path) -> None:
        self.path = path
        suffix = path.suffix.lower()
        if suffix not in (*DELIMITERS, *JSON_LINES):
            raise HPEditError(f"{path} is neither CSV nor JSONL", hint="name a .csv, .tsv or .jsonl file")
        if not path.is_file():
            raise HPEditError(f"{path} does not exist")
        self._delimiter = DELIMITERS.get(suffix)

    def records(self) -> Iterator[Record]:
        """Read all rows in order; blank lines are skipped."""
        with self.path.open("rb") as stream:
            if self._delimiter is None:
                yield from _json_records(_Lines(stream, 0, 0))
            else:
                _, offset, line = self._header
                yield from self._csv_records(_Lines(stream, offset, line))

    def at(self, places: Iterable[tuple[int, int]]) -> Iterator[Record]:
        """Read the rows at these (line, offset)."""
        with self.path.open("rb") as stream:
            for line, offset in places:
                lines = _Lines(stream, offset, line - 1)
                found = _json_records(lines) if self._delimiter is None else self._csv_records(lines)
                record = next(found, None)
                if record is None or record.line != line:
                    hint = "the file was changed while it was read"
                    raise HPEditError(f"{self.path}: line {line} is gone", hint=hint)
                yield record

    @cached_property
    def _header(self) -> tuple[list[str], int, int]:
        """Column names of a CSV, and offset and line where its rows begin."""
        with self.path.open("rb") as stream:
            lines = _Lines(stream, 0, 0)
            try:
                cells = next(filter(None, csv.reader(lines, delimiter=str(self._delimiter), strict=True)), [])
            except csv.Error as error:
                raise HPEditError(f"{self.path}: its header is not CSV: {error}") from error
        names = [restore(cell) for cell in cells]
        if not names:
            raise HPEditError(f"{self.path} is empty", hint="its first line names the columns")
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise HPEditError(f"{self.path} has more than one column {', '.join(twice)}")
        return names, lines.offset, lines.line

    def _csv_records(self, lines: _Lines) -> Iterator[Record]:
        names = self._header[0]
        reader = csv.reader(lines, delimiter=str(self._delimiter), strict=True)
        while True:
            line, offset = lines.line + 1, lines.offset
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(line, offset, fault=f"not CSV: {error}")
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                yield Record(line, offset, fault=f"{len(cells)} cells, but the header has {len(names)}")
            elif any(not cell.isascii() and _undecodable(cell) for cell in cells):
                yield Record(line, offset, fault="not UTF-8 text")
            else:
                yield Record(line, offset, dict(zip(names, map(restore, cells), strict=True)))


class _Lines:
    """Text lines of a binary stream with line number and offset; invalid UTF-8 is escaped."""

    def __init__(self, stream: IO[bytes], offset: int, line: int) -> None:
        stream.seek(offset)
        self._stream, self.offset, self.line = stream, offset, line

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._stream.readline(MAX_LINE)
        if not raw:
            raise StopIteration
        self.line += 1
        if len(raw) == MAX_LINE:
            raise HPEditError(f"{self._stream.name}:{self.line}: a line of more than {MAX_LINE:,} bytes")
        text = raw.removeprefix(_BOM) if self.offset == 0 else raw
        self.offset += len(raw)
        return text.decode("utf-8", "surrogateescape")


def _undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _json_records(lines: _Lines) -> Iterator[Record]:
    while True:
        line, offset = lines.line + 1, lines.offset
        text = next(lines, None)
        if text is None:
            return
        if text.strip():
            yield _json_record(line, offset, text)


def _json_record(line: int, offset: int, text: str) -> Record:
    if not text.isascii() and _undecodable(text):
        return Record(line, offset, fault="not UTF-8 text")
    try:
        row = decode_json(text)
    except ValueError as error:
        torn = "" if text.endswith("\n") else "a torn last line, "
        return Record(line, offset, fault=f"{torn}not JSON: {error}")
    if not isinstance(row, dict):
        return Record(line, offset, fault=f"not an object but {type(row).__name__}")
    return Record(line, offset, row)
