"""Gold items: edits whose score is known, shown among the others to see who rates with care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.rate.items import Item, pair_id
from hpedit.ratings.store import CHOICES, Kind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.store.csv_rows import CsvRow, read_csv_rows

_SWAPPED = {"A": "B", "B": "A"}


def swapped(value: Value) -> Value:
    """The same answer to a comparison with its sides exchanged; a score is itself."""
    return _SWAPPED.get(value, value) if isinstance(value, str) else value


def split_gold(items: Sequence[Item], file: Path | str | None, kind: Kind) -> tuple[list[Item], list[Item]]:
    """The items to be rated, and those of them that `file` makes gold.

    Args:
        items: Of the run, all of `kind`.
        file: CSV with edit_id and expected (0-5) for scores, or edit_id, other_edit_id and expected (A, B, tie,
            both_bad; A is edit_id) for comparisons. None makes nothing gold.

    Raises:
        HPEditError: The file is missing or wrong, names edits that are not there, or leaves nothing to rate.
    """
    if file is None:
        return list(items), []
    columns = ("edit_id", "expected") if kind == "score" else ("edit_id", "other_edit_id", "expected")
    by_id = {item.id: item for item in items}
    gold: dict[str, Item] = {}
    for row in read_csv_rows(Path(file), columns):
        item = _gold_of(row, by_id, kind)
        if item.id in gold:
            raise HPEditError(f"{row.where}: {row.name('edit_id')} is gold twice")
        gold[item.id] = item
    rest = [item for item in items if item.id not in gold]
    if not rest:
        raise HPEditError(f"{file} makes every item gold: nothing is left to rate", hint="leave some out")
    return rest, list(gold.values())


def _gold_of(row: CsvRow, by_id: dict[str, Item], kind: Kind) -> Item:
    one = row.name("edit_id")
    name = one if kind == "score" else pair_id(one, row.name("other_edit_id"))
    if name not in by_id:
        raise HPEditError(f"{row.where}: {name} is not among the items to rate", hint="give ids of the edits")
    item = by_id[name]
    value: Value = row.name("expected")
    if kind == "score":
        value = _score(row)
    elif value not in CHOICES:
        raise HPEditError(f"{row.where}: expected is {value!r}", hint=f"one of {', '.join(CHOICES)}")
    elif item.first.edit_id != one:
        value = swapped(value)
    return replace(item, phase="gold", expected=value)


def _score(row: CsvRow) -> float:
    try:
        value = float(row.name("expected"))
    except ValueError as error:
        raise HPEditError(f"{row.where}: expected is {row['expected']!r}, not a number") from error
    if not MIN_SCORE <= value <= MAX_SCORE:
        raise HPEditError(f"{row.where}: expected is {value}", hint="a score lies in 0 to 5")
    return value
