"""What a command counted, as lines and small tables for people; `--json` has the same for programs, and more."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDEST = 80
"""Columns of a line; a table may be wider."""


def figures_text(found: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str:
    """One line a figure, a block for each that has parts, and a table where the parts have the same figures.

    Args:
        found: As --json prints it.
        leave_out: Keys for --json alone.
    """
    shown = {key: value for key, value in found.items() if key not in leave_out and not _is_empty(value)}
    return "\n".join(_lines(shown, 0))


def _is_empty(value: Any) -> bool:
    return value == "" or (isinstance(value, Mapping | list | tuple) and not any(_parts(value)))


def _parts(value: Mapping[str, Any] | Sequence[Any]) -> list[bool]:
    values = value.values() if isinstance(value, Mapping) else value
    return [not _is_empty(one) for one in values]


def _lines(found: Mapping[str, Any], depth: int) -> list[str]:
    """A mapping's lines, keys aligned."""
    lines, indent = [], "  " * depth
    room = max((len(_name(key)) for key in found), default=0)
    for key, value in found.items():
        if _is_empty(value):
            continue
        inline = _inline(value)
        if inline is not None and (not isinstance(value, Mapping) or len(inline) + room + len(indent) < WIDEST):
            hanging = " " * (len(indent) + room + 2)
            first, *more = _wrapped(inline, WIDEST - len(hanging))
            lines += [f"{indent}{_name(key):<{room}}  {first}", *(hanging + words for words in more)]
            continue
        block = _table(value, depth + 1) or _lines(value if isinstance(value, Mapping) else _numbered(value), depth + 1)
        lines += [f"{indent}{_name(key)}", *block]
    return lines


def _wrapped(text: str, room: int) -> list[str]:
    """Lines of `room` columns; no figure is parted from its per cent sign, no path is broken."""
    kept = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.wrap(kept, max(30, room), break_long_words=False, break_on_hyphens=False) or [""]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _numbered(values: Sequence[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values, 1)}


def _name(key: str) -> str:
    return str(key) or "all"


def _inline(value: Any) -> str | None:
    """A value that fits into a line: a scalar, an estimate, a list of scalars, a few counts; else None."""
    if isinstance(value, Mapping):
        if "ci95" in value:
            from hpedit.stats.intervals import interval_text

            return interval_text(value)
        parts = [_inline(one) for one in value.values()]
        if any(isinstance(one, Mapping | list | tuple) for one in value.values()) or None in parts:
            return None
        return ", ".join(f"{_name(key)} {part}" for key, part in zip(value, parts, strict=True))
    if isinstance(value, list | tuple):
        if any(isinstance(one, Mapping | list | tuple) for one in value):
            return None
        return ", ".join(_scalar(one) for one in value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(value: Any, depth: int) -> list[str]:
    """Parts that have figures of the same names, as a table; empty if they are something else."""
    rows = value if isinstance(value, Mapping) else _numbered(value)
    if not all(isinstance(row, Mapping) for row in rows.values()):
        return []
    if any(isinstance(part, Mapping) and "ci95" not in part for row in rows.values() for part in row.values()):
        return []
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [[_inline(row[key]) if key in row else "" for key in columns] for row in rows.values()]
    table = [["", *map(_name, columns)]]
    for key, row in zip(rows, cells, strict=True):
        texts = [cell for cell in row if cell is not None]
        if len(texts) < len(columns):
            return []
        table.append([_name(key), *texts])
    widths = [max(len(row[number]) for row in table) for number in range(len(columns) + 1)]
    return [
        "  " * depth + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
