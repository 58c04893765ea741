"""Read CSV tables strictly: what is wrong is said with file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError


@dataclass(frozen=True, slots=True)
class Row:
    """One record; ``where`` is "file:line" for messages. Cells are stripped of surrounding blanks."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """Text of a cell, "" if it is empty; KeyError for a column that the file does not have."""
        return self.cells[column]

    def name(self, column: str) -> str:
        """Text of a cell that must not be empty (HPEditError)."""
        value = self.cells[column]
        if not value:
            raise HPEditError(f"{self.where}: {column} is empty")
        return value


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """All records of a CSV file with a header (UTF-8, byte order mark and CRLF allowed).

    Raises:
        HPEditError: no such file, not UTF-8, no or a wrong header, a line with too many or too few cells.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HPEditError(f"{path} is not a file") from error
    except UnicodeDecodeError as error:
        raise HPEditError(f"{path} is not UTF-8 text: {error}", hint="save it as CSV in UTF-8") from error
    records = _records(path, text)
    _, header = next(records, (1, []))
    _check_header(path, header, required)
    rows = []
    for line, cells in records:
        if len(cells) != len(header):
            raise HPEditError(f"{path}:{line}: {len(cells)} cells, but the header has {len(header)}")
        rows.append(Row(f"{path}:{line}", dict(zip(header, cells, strict=True))))
    return rows


def index_rows(rows: Iterable[Row], key: Sequence[str]) -> dict[tuple[str, ...], Row]:
    """Rows by the values of the ``key`` columns; HPEditError if one is empty or there twice."""
    result: dict[tuple[str, ...], Row] = {}
    for row in rows:
        value = tuple(row.name(name) for name in key)
        if value in result:
            raise HPEditError(f"{row.where}: {', '.join(value)} is there twice (first: {result[value].where})")
        result[value] = row
    return result


def write_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text of a CSV table."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(last line, stripped cells) of each record that is not a blank line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise HPEditError(f"{path}:{reader.line_num}: {error}") from error


def _check_header(path: Path, header: Sequence[str], required: Sequence[str]) -> None:
    if not header:
        raise HPEditError(f"{path} is empty", hint=f"expected columns: {', '.join(required)}")
    missing = [name for name in required if name not in header]
    if missing:
        raise HPEditError(f"{path} has no column {', '.join(missing)}", hint=f"its columns are: {', '.join(header)}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise HPEditError(f"{path} has more than one column {', '.join(twice)}")
