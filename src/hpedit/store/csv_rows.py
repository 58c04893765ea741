"""Read CSV tables strictly: what is wrong is said with file and line.

A cell that a spreadsheet would run as a formula is written with an apostrophe before it and read back without
(`neutralise` and `restore`), so that a table which people open in a spreadsheet is safe and still says the same.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError

_FORMULA = "=+@＝＋－＠-"
"""First characters that spreadsheets take for a formula, with their full-width forms (OWASP, CSV injection)."""
_MARKED = re.compile(rf"['\s{re.escape(_FORMULA)}]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One record; ``where`` is "file:line" for messages. Cells are as `restore` leaves them."""

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


def is_number(text: str) -> bool:
    """Whether a text is a plain decimal number; nothing is guessed from words."""
    return _NUMBER.fullmatch(text) is not None


def neutralise(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet could run, what blanks surround, and an apostrophe.

    A plain number is no formula and stays. `restore` is the inverse for every text.
    """
    needed = cell != cell.strip() or (_MARKED.match(cell) and not is_number(cell))
    return f"'{cell}" if needed else cell


def restore(cell: str) -> str:
    """Take blanks around a cell away, as hand-made tables need it, or undo `neutralise` where that marked the cell."""
    if not cell.startswith("'"):
        return cell.strip()
    return cell[1:] if _MARKED.match(cell, 1) or cell != cell.rstrip() else cell


def read_csv_rows(path: Path, required: Sequence[str]) -> list[CsvRow]:
    """All records of a CSV file with a header (UTF-8, byte order mark and CRLF allowed), neutralised cells restored.

    Raises:
        HPEditError: no such file, not UTF-8, no or a wrong header, a line with too many or too few cells.
    """
    try:
        # Not read_text: it would turn a carriage return within a cell into a line feed.
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HPEditError(f"{path} is not a file") from error
    except UnicodeDecodeError as error:
        raise HPEditError(f"{path} is not UTF-8 text: {error}", hint="save it as CSV in UTF-8") from error
    records = _records(path, text)
    header = [restore(name) for name in next(records, (1, []))[1]]
    _check_header(path, header, required)
    rows = []
    for line, cells in records:
        if len(cells) != len(header):
            raise HPEditError(f"{path}:{line}: {len(cells)} cells, but the header has {len(header)}")
        rows.append(CsvRow(f"{path}:{line}", dict(zip(header, map(restore, cells), strict=True))))
    return rows


def index_csv_rows(rows: Iterable[CsvRow], key: Sequence[str]) -> dict[tuple[str, ...], CsvRow]:
    """Rows by the values of the ``key`` columns; HPEditError if one is empty or there twice."""
    result: dict[tuple[str, ...], CsvRow] = {}
    for row in rows:
        value = tuple(row.name(name) for name in key)
        if value in result:
            raise HPEditError(f"{row.where}: {', '.join(value)} is there twice (first: {result[value].where})")
        result[value] = row
    return result


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text of a CSV table, with cells that a spreadsheet would run neutralised."""
    lines = [",".join(_quoted(neutralise(cell)) for cell in cells) for cells in (header, *rows)]
    return "\n".join(lines) + "\n"


def _quoted(cell: str) -> str:
    # csv.writer leaves a lone carriage return unquoted, and csv.reader then ends the record there.
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(mark in cell for mark in ',"\r\n') else cell


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(last line, cells) of each record that is not a blank line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
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
