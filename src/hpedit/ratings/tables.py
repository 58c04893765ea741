"""Answers as CSV and JSONL: one line an answer, a score's table and a vote's table.

A score has edit_id, rater, score (0 to 5; may be missing where a table has only marks by axis), and any further column
of numbers is an axis of marks. A vote has edit_a, edit_b, rater, vote (A, B, tie, both_bad). Both may have flags
(separated by ;), time, simulated, ms, id, phase, task, case_id, source_id, late, expected, superseded_by. What was
written is read back equal; a file that is broken is refused with its line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP, Response
from hpedit.store.csv_rows import csv_text, is_number, read_csv_rows

SCORE_COLUMNS = ("edit_id", "rater", "score")
VOTE_COLUMNS = ("edit_a", "edit_b", "rater", "vote")
DETAILS = ("flags", "time", "simulated", "ms", "id", "phase", "task", "case_id", "source_id")
"""Columns that a table has beside the answer."""
AUDIT = ("late", "expected", "superseded_by")
"""Columns only of an export of everything."""
_KNOWN = frozenset((*SCORE_COLUMNS, *VOTE_COLUMNS, *DETAILS, *AUDIT))

Cells = Mapping[str, Any]
"""One record: text from CSV, JSON values from JSONL."""


def read_table(path: Path) -> list[Response]:
    """All answers of a .csv or .jsonl file, in its order.

    Raises:
        HPEditError: no such file, not UTF-8, a torn or broken line, a column is missing, or a value that nobody can
            have given; with file and line.
    """
    if path.suffix.lower() == ".csv":
        rows = read_csv_rows(path, ("rater",))
        records: list[tuple[str, Cells]] = [(row.where, row.cells) for row in rows]
        known = set(rows[0].cells) if rows else set(SCORE_COLUMNS)
    else:
        records = list(_json_lines(path))
        known = {name for _, cells in records for name in cells}
    votes = {"edit_a", "edit_b"} <= known
    if not votes and "edit_id" not in known and records:
        raise HPEditError(
            f"{path} has no column edit_id",
            hint=f"scores have {', '.join(SCORE_COLUMNS)}; votes have {', '.join(VOTE_COLUMNS)}",
        )
    axes = [] if votes else _axes(records)
    return [_response(where, cells, votes, axes) for where, cells in records]


def write_table(responses: Sequence[Response], form: str, *, everything: bool = False) -> str:
    """Text of a table of answers of one kind, as "csv" or "jsonl"."""
    records = [_cells(response, everything) for response in responses]
    if form == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    votes = bool(responses) and responses[0].kind == "compare"
    axes = sorted({axis for response in responses for axis in response.axes})
    header = (*(VOTE_COLUMNS if votes else SCORE_COLUMNS), *axes, *DETAILS, *(AUDIT if everything else ()))
    return csv_text(header, [[_text(record.get(name)) for name in header] for record in records])


def _cells(response: Response, everything: bool) -> dict[str, Any]:
    answer: dict[str, Any]
    if response.kind == "compare":
        answer = dict(zip(VOTE_COLUMNS, (*response.edits, response.rater, response.value), strict=True))
    else:
        answer = dict(zip(SCORE_COLUMNS, (*response.edits, response.rater, response.value), strict=True))
        answer |= response.axes
    answer |= {name: getattr(response, name) for name in (*DETAILS, *(AUDIT if everything else ()))}
    return answer | {"flags": list(response.flags)}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(value) if isinstance(value, list) else str(value)


def _json_lines(path: Path) -> Iterator[tuple[str, Cells]]:
    """(file:line, record) of each line; a last line without its newline counts if it is whole."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise HPEditError(f"{path} is not a file") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise HPEditError(f"{path}:{number}: not UTF-8: {error}") from error
        except json.JSONDecodeError as error:
            torn = " (the file ends in the middle of a line)" if number == len(lines) else ""
            raise HPEditError(f"{path}:{number}: not a line of JSON{torn}: {error}") from error
        if not isinstance(record, dict):
            raise HPEditError(f"{path}:{number}: a {type(record).__name__} where an object is expected")
        yield f"{path}:{number}", record


def _axes(records: Sequence[tuple[str, Cells]]) -> list[str]:
    """Columns of marks: unknown to us, and mostly numbers, so that one typing error is an error and not a new kind."""
    names = dict.fromkeys(name for _, cells in records for name in cells if name not in _KNOWN)
    axes = []
    for name in names:
        values = [cells[name] for _, cells in records if cells.get(name) not in (None, "")]
        if 2 * sum(_is_number(value) for value in values) > len(values):
            axes.append(name)
    return axes


def _is_number(value: Any) -> bool:
    return is_number(value.strip()) if isinstance(value, str) else type(value) in (int, float)


def _response(where: str, cells: Cells, votes: bool, axes: Sequence[str]) -> Response:
    if votes:
        edits: tuple[str, ...] = (_string(where, cells, "edit_a"), _string(where, cells, "edit_b"))
        value: Any = _string(where, cells, "vote").strip() or None
    else:
        edits = (_string(where, cells, "edit_id"),)
        value = _score(where, "score", cells.get("score"))
    marks = {name: _number(where, name, cells[name]) for name in axes if cells.get(name) not in (None, "")}
    ms = cells.get("ms")
    response = Response(
        edits=edits,
        rater=_string(where, cells, "rater"),
        value=value,
        id=_string(where, cells, "id"),
        phase=_string(where, cells, "phase") or "rate",
        flags=_flags(where, cells.get("flags")),
        task=_string(where, cells, "task"),
        case_id=_string(where, cells, "case_id"),
        source_id=_string(where, cells, "source_id"),
        ms=None if ms in (None, "") else round(_number(where, "ms", ms)),
        time=_string(where, cells, "time"),
        late=_truth(where, cells, "late"),
        superseded_by=_string(where, cells, "superseded_by"),
        simulated=_truth(where, cells, "simulated"),
        axes=marks,
        where=where,
    )
    expected = cells.get("expected")
    if expected in (None, ""):
        return response
    return replace(response, expected=str(expected) if votes else _number(where, "expected", expected))


def _score(where: str, name: str, value: Any) -> float | str | None:
    if value in (None, ""):
        return None
    return SKIP if value == SKIP else _number(where, name, value)


def _number(where: str, name: str, value: Any) -> float:
    if not _is_number(value) or not math.isfinite(float(value)):
        raise HPEditError(f"{where}: {name} is {value!r}, not a number")
    return float(value)


def _string(where: str, cells: Cells, name: str) -> str:
    value = cells.get(name)
    if value is None:
        return ""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise HPEditError(f"{where}: {name} is {value!r}, not a text")


def _truth(where: str, cells: Cells, name: str) -> bool:
    value = cells.get(name)
    text = str(value).strip().lower()
    if value in (None, "") or text in ("true", "false", "0", "1"):
        return text in ("true", "1")
    raise HPEditError(f"{where}: {name} is {value!r}", hint="write true or false")


def _flags(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(flag, str) for flag in value):
        return tuple(value)
    if value is None or isinstance(value, str):
        return tuple(flag for flag in (value or "").split(";") if flag)
    raise HPEditError(f"{where}: flags is {value!r}", hint="a list of words, in CSV separated by ;")
