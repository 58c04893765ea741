"""Read and write CSV tables: strict parsing with file and line in errors, and protection against CSV injection.

A cell that a spreadsheet would run as a formula is written with a leading apostrophe and read back without it
(`neutralise` and `restore`), so that tables are safe to open in a spreadsheet and keep their content.
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
"""First characters of a formula, with their full-width forms (OWASP, CSV injection)."""
_MARKED = re.compile(rf"['\s{re.escape(_FORMULA)}]")
_INSIDE = re.compile(rf"([;\t]\s*)('*[{re.escape(_FORMULA)}])")
"""A formula behind a semicolon or a tab, at which many spreadsheets split a cell."""
_INSIDE_MARKED = re.compile(rf"([;\t]\s*)'('*[{re.escape(_FORMULA)}])")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A CSV record; `where` is "file:line" for messages. Cells are restored."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """Text of a cell, may be ""; KeyError for an unknown column."""
        return self.cells[column]

    def name(self, column: str) -> str:
        """Text of a cell; HPEditError if it is empty."""
        value = self.cells[column]
        if not value:
            raise HPEditError(f"{self.where}: {column} is empty")
        return value


def is_number(text: str) -> bool:
    """Whether a text is a plain decimal number."""
    return _NUMBER.fullmatch(text) is not None


def neutralise(cell: str) -> str:
    """Prefix an apostrophe to a cell that is a formula, has surrounding blanks or begins with an apostrophe.

    Plain numbers are left alone. `restore` is the inverse for every text.
    """
    inside = _INSIDE.sub(r"\1'\2", cell)
    needed = cell != cell.strip() or (_MARKED.match(cell) and not is_number(cell))
    return f"'{inside}" if needed else inside


def restore(cell: str) -> str:
    """Strip blanks around a cell, as in hand-made tables, or undo `neutralise` if it marked the cell."""
    if not cell.startswith("'"):
        found = cell.strip()
    else:
        found = cell[1:] if _MARKED.match(cell, 1) or cell != cell.rstrip() else cell
    return _INSIDE_MARKED.sub(r"\1\2", found)


def read_csv_rows(path: Path, required: Sequence[str]) -> list[CsvRow]:
    """Read a CSV file with a header (UTF-8; byte order mark and CRLF allowed), restoring neutralised cells.

    Semicolons and tabs separate cells too; rows of empty cells, and empty columns without a name at the end, as
    spreadsheets write them, are passed over.

    HPEditError for a missing file, text that is not UTF-8, a bad header, or a line with too many or too few cells.
    """
    try:
        # Not read_text: it would turn a carriage return within a cell into a line feed.
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HPEditError(f"{path} is not a file") from error
    except UnicodeDecodeError as error:
        raise HPEditError(f"{path} is not UTF-8 text: {error}", hint="save it as CSV in UTF-8") from error
    records = _csv_records(path, text, _delimiter(text, required))
    header = [restore(name) for name in next(records, (1, []))[1]]
    named = len(header)
    while named and not header[named - 1]:
        named -= 1
    _check_csv_header(path, header[:named], required)
    rows = []
    for line, cells in records:
        if len(cells) != len(header):
            raise HPEditError(f"{path}:{line}: {len(cells)} cells, but the header has {len(header)}")
        if any(restore(cell) for cell in cells[named:]):
            raise HPEditError(f"{path}:{line}: a cell beyond the last named column", hint="give the column a name")
        rows.append(CsvRow(f"{path}:{line}", dict(zip(header[:named], map(restore, cells[:named]), strict=True))))
    return rows


def index_csv_rows(rows: Iterable[CsvRow], key: Sequence[str]) -> dict[tuple[str, ...], CsvRow]:
    """Index CSV rows by the values of the `key` columns; HPEditError if one is empty or duplicate."""
    result: dict[tuple[str, ...], CsvRow] = {}
    for row in rows:
        value = tuple(row.name(name) for name in key)
        if value in result:
            raise HPEditError(f"{row.where}: {', '.join(value)} appears twice (first: {result[value].where})")
        result[value] = row
    return result


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a CSV table as text, with formula-like cells neutralised."""
    lines = [",".join(_quoted_cell(neutralise(cell)) for cell in cells) for cells in (header, *rows)]
    return "\n".join(lines) + "\n"


def _quoted_cell(cell: str) -> str:
    # csv.writer leaves a lone carriage return unquoted, and csv.reader then ends the record there.
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(mark in cell for mark in ',"\r\n') else cell


def _delimiter(text: str, required: Sequence[str]) -> str:
    """What separates the cells: of comma, semicolon and tab the first by which the header has the needed columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for mark in (",", ";", "\t"):
        if len(required) > 0 and {*required} <= {restore(name.strip().strip('"')) for name in first.split(mark)}:
            return mark
    return ","


def _csv_records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(last line number, cells) of each record, blank lines skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise HPEditError(f"{path}:{reader.line_num}: {error}") from error


def _check_csv_header(path: Path, header: Sequence[str], required: Sequence[str]) -> None:
    if not header:
        raise HPEditError(f"{path} is empty", hint=f"expected columns: {', '.join(required)}")
    missing = [name for name in required if name not in header]
    if missing:
        raise HPEditError(f"{path} has no column {', '.join(missing)}", hint=f"its columns are: {', '.join(header)}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise HPEditError(f"{path} has more than one column {', '.join(twice)}")
