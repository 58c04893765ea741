"""Gold items for rater quality control: edits whose score is known, mixed in with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.rate.items import RatedItem, pair_id
from hpedit.ratings.responses import SWAPPED_VOTE, VOTES
from hpedit.ratings.store import RatingKind, Value
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.store.csv_rows import CsvRow, read_csv_rows


def swap_sides(value: Value) -> Value:
    """The same answer to a comparison with its sides exchanged; a score is unchanged."""
    return SWAPPED_VOTE.get(value, value) if isinstance(value, str) else value


def split_gold(
    items: Sequence[RatedItem], file: Path | None, kind: RatingKind
) -> tuple[list[RatedItem], list[RatedItem]]:
    """Split the items into those to rate and the gold items that `file` lists.

    Args:
        items: all of `kind`.
        file: CSV with edit_id and expected (0-5) for scores, or edit_id, other_edit_id and expected (A, B, tie,
            both_bad; A is edit_id) for comparisons. None: no gold items.

    Raises:
        HPEditError: the file is missing or invalid, names unknown edits, or leaves nothing to rate.
    """
    if file is None:
        return list(items), []
    columns = ("edit_id", "expected") if kind == "score" else ("edit_id", "other_edit_id", "expected")
    by_id = {item.id: item for item in items}
    gold: dict[str, RatedItem] = {}
    for row in read_csv_rows(file, columns):
        item = _gold_item(row, by_id, kind)
        if item.id in gold:
            raise HPEditError(f"{row.where}: {row.name('edit_id')} is gold twice")
        gold[item.id] = item
    rest = [item for item in items if item.id not in gold]
    if not rest:
        raise HPEditError(f"{file} makes every item gold: nothing is left to rate", hint="leave some out")
    return rest, list(gold.values())


def _gold_item(row: CsvRow, by_id: dict[str, RatedItem], kind: RatingKind) -> RatedItem:
    edit = row.name("edit_id")
    name = edit if kind == "score" else pair_id(edit, row.name("other_edit_id"))
    if name not in by_id:
        raise HPEditError(f"{row.where}: {name} is not among the items to rate", hint="give ids of the edits")
    item, value = by_id[name], row.name("expected")
    if kind == "score":
        return replace(item, phase="gold", expected=_gold_score(row))
    if value not in VOTES:
        raise HPEditError(f"{row.where}: expected is {value!r}", hint=f"one of {', '.join(VOTES)}")
    return replace(item, phase="gold", expected=value if item.first.edit_id == edit else swap_sides(value))


def _gold_score(row: CsvRow) -> float:
    try:
        value = float(row.name("expected"))
    except ValueError as error:
        raise HPEditError(f"{row.where}: expected is {row['expected']!r}, not a number") from error
    if not MIN_SCORE <= value <= MAX_SCORE:
        raise HPEditError(f"{row.where}: expected is {value}", hint="a score is a number from 0 to 5")
    return value
