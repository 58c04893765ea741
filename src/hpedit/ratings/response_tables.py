"""Read and write tables of ratings as CSV and JSONL: one line per answer, scores and votes in separate tables.

A score has edit_id, rater, score (0 to 5; optional if the table has only scores by axis); any further column of
numbers is an axis. A vote has edit_a, edit_b, rater, vote (A, B, tie, both_bad). Both may have flags (separated by ;),
time, simulated, ms, id, phase, task, case_id, source_id, late, expected, superseded_by. A table that was written is
read back equal; a broken one is an error with file and line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.ratings.reading_rules import PLAIN_RULES, ReadingRules
from hpedit.ratings.responses import SKIP, Response
from hpedit.store.csv_rows import csv_text, is_number, read_csv_rows
from hpedit.store.json_text import decode_json

SCORE_COLUMNS = ("edit_id", "rater", "score")
VOTE_COLUMNS = ("edit_a", "edit_b", "rater", "vote")
DETAILS = ("flags", "time", "simulated", "ms", "id", "phase", "task", "case_id", "source_id")
"""Columns beside the answer."""
AUDIT = ("late", "expected", "superseded_by")
"""Columns only of an export of everything."""
_KNOWN = frozenset((*SCORE_COLUMNS, *VOTE_COLUMNS, *DETAILS, *AUDIT))
_EMPTY = (None, "")

Cells = Mapping[str, Any]
"""One row: text from CSV, JSON values from JSONL."""


def read_response_table(path: Path, rules: ReadingRules = PLAIN_RULES) -> list[Response]:
    """All ratings of a .csv or .jsonl file, in its order.

    Raises:
        HPEditError: no such file, not UTF-8, a truncated or broken line, a missing column, or an invalid value; with
            file and line.
    """
    if path.suffix.lower() == ".csv":
        rows = read_csv_rows(path, (rules.columns.get("rater", "rater"),))
        records: list[tuple[str, Cells]] = [(row.where, rules.cells(row.cells)) for row in rows]
        known = set(records[0][1]) if rows else set(SCORE_COLUMNS)
    else:
        records = [(where, rules.cells(cells)) for where, cells in _json_lines(path)]
        known = {name for _, cells in records for name in cells}
    votes = {"edit_a", "edit_b"} <= known
    if not votes and "edit_id" not in known and records:
        raise HPEditError(
            f"{path} has no column edit_id",
            hint=f"scores have {', '.join(SCORE_COLUMNS)}; votes have {', '.join(VOTE_COLUMNS)}",
        )
    axes = [] if votes else _axis_columns(records)
    return [_parse_response(where, cells, votes, axes, rules) for where, cells in records]


def write_response_table(responses: Sequence[Response], form: str, *, everything: bool = False) -> str:
    """Text of a table of ratings of one kind (all scores or all votes), as "csv" or "jsonl"."""
    details = (*DETAILS, *(AUDIT if everything else ()))
    votes = bool(responses) and responses[0].kind == "compare"
    answer_columns = VOTE_COLUMNS if votes else SCORE_COLUMNS
    records: list[dict[str, Any]] = [
        {
            **dict(zip(answer_columns, (*response.edits, response.rater, response.value), strict=True)),
            **response.axes,
            **{name: getattr(response, name) for name in details},
            "flags": list(response.flags),
        }
        for response in responses
    ]
    if form == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    axes = sorted({axis for response in responses for axis in response.axes})
    header = (*answer_columns, *axes, *details)
    return csv_text(header, [[_csv_cell(record.get(name)) for name in header] for record in records])


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(value) if isinstance(value, list) else str(value)


def _json_lines(path: Path) -> Iterator[tuple[str, Cells]]:
    """(file:line, record) of each line of JSONL; a complete last line may lack its newline."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HPEditError(f"{path} is not a file") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = decode_json(line)
        except UnicodeDecodeError as error:
            raise HPEditError(f"{path}:{number}: not UTF-8: {error}") from error
        except ValueError as error:
            torn = " (the file ends in the middle of a line)" if number == len(lines) else ""
            raise HPEditError(f"{path}:{number}: not a line of JSON{torn}: {error}") from error
        if not isinstance(record, dict):
            raise HPEditError(f"{path}:{number}: expected an object, found a {type(record).__name__}")
        yield f"{path}:{number}", record


def _axis_columns(records: Sequence[tuple[str, Cells]]) -> list[str]:
    """Unknown columns of mostly numbers: mostly, so that a typing error in one is an error and not another column."""
    axes = []
    for name in dict.fromkeys(name for _, cells in records for name in cells if name not in _KNOWN):
        values = [cells[name] for _, cells in records if cells.get(name) not in _EMPTY]
        if 2 * sum(_is_numeric_cell(value) for value in values) > len(values):
            axes.append(name)
    return axes


def _with_point(text: str) -> str:
    """A number's text with a decimal point, where a spreadsheet wrote a decimal comma."""
    return re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text.strip())


def _is_numeric_cell(value: Any) -> bool:
    return is_number(_with_point(value)) if isinstance(value, str) else type(value) in (int, float)


def _parse_response(where: str, cells: Cells, votes: bool, axes: Sequence[str], rules: ReadingRules) -> Response:
    expected, ms = cells.get("expected"), cells.get("ms")
    if votes:
        edits: tuple[str, ...] = (_text_cell(where, cells, "edit_a"), _text_cell(where, cells, "edit_b"))
        value: Any = _text_cell(where, cells, "vote").strip() or None
    else:
        edits = (_text_cell(where, cells, "edit_id"),)
        value = cells.get("score")
        if value != SKIP:
            value = None if value in _EMPTY else rules.score(where, _number_cell(where, "score", value))
    if expected not in _EMPTY:
        expected = str(expected) if votes else _number_cell(where, "expected", expected)
    texts = ("rater", "id", "task", "case_id", "source_id", "time", "superseded_by")
    return Response(
        edits=edits,
        value=value,
        phase=_text_cell(where, cells, "phase") or "rate",
        flags=_parse_flags(where, cells.get("flags")),
        ms=None if ms in _EMPTY else round(_number_cell(where, "ms", ms)),
        late=_boolean_cell(where, cells, "late"),
        expected=None if expected in _EMPTY else expected,
        simulated=_boolean_cell(where, cells, "simulated"),
        axes={name: _number_cell(where, name, cells[name]) for name in axes if cells.get(name) not in _EMPTY},
        where=where,
        **{name: _text_cell(where, cells, name) for name in texts},
    )


def _number_cell(where: str, name: str, value: Any) -> float:
    value = _with_point(value) if isinstance(value, str) else value
    if not _is_numeric_cell(value) or not math.isfinite(float(value)):
        raise HPEditError(f"{where}: {name} is {value!r}, not a number")
    return float(value)


def _text_cell(where: str, cells: Cells, name: str) -> str:
    value = cells.get(name)
    if value is None:
        return ""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise HPEditError(f"{where}: {name} is {value!r}, not a text")


def _boolean_cell(where: str, cells: Cells, name: str) -> bool:
    value = cells.get(name)
    text = str(value).strip().lower()
    if value in _EMPTY or text in ("true", "false", "0", "1"):
        return text in ("true", "1")
    raise HPEditError(f"{where}: {name} is {value!r}", hint="write true or false")


def _parse_flags(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(flag, str) for flag in value):
        return tuple(value)
    if value is None or isinstance(value, str):
        return tuple(flag for flag in (value or "").split(";") if flag)
    raise HPEditError(f"{where}: flags is {value!r}", hint="a list of words, in CSV separated by ;")
