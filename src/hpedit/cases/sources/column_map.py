"""Bring rows of other people's tables to our column names: by the recipe's map, or by a known layout.

What is the edited picture never becomes a source, and a column of pictures or texts that nothing reads is an error
until the recipe ignores it: a second picture, or the real instruction, would be lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources.columns import COLUMNS, LAYOUTS, plain_name
from hpedit.errors import HPEditError
from hpedit.store.json_text import decode_json

MOST_PICTURES = 3
"""Source pictures of a case: what editors take at most."""
BETWEEN: Final = "\n"
"""Separates the names of further pictures in the cell of the column `reference`."""
_PICTURE_NAME = re.compile(r"\.(png|jpe?g|webp|bmp|gif|tiff?)$", re.IGNORECASE)
_PICTURE_COLUMN = re.compile(r"(^|_)(image|img|picture|photo|mask)s?_?\d*($|_file|_path)", re.IGNORECASE)
_TEXT_COLUMN = re.compile(r"(^|_)(instruction|prompt|caption|text)s?_?(list)?\d*$", re.IGNORECASE)


class ColumnMap:
    """How the columns of one source are read.

    Args:
        section: Of the recipe: its maps `columns` and `tasks`, and the columns that it ignores.
    """

    def __init__(self, section: SourceSection) -> None:
        self._given, self._ignored = dict(section.columns), frozenset(section.ignore)
        self._tasks = {plain_name(name): task for name, task in section.tasks.items()}

    def image(self, names: Collection[str]) -> str | None:
        """The column of the source picture by the map or a layout; None if neither says."""
        return _layout(tuple(names), tuple(self._given.items()))[0].get("image")

    def texts(self, names: Collection[str]) -> Collection[str]:
        """The columns other than the picture that the map or a layout names."""
        columns, _ = _layout(tuple(names), tuple(self._given.items()))
        return [name for key, name in columns.items() if key != "image"]

    def rename(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row in our names; lists of pictures become `image` and `ref_image`. HPEditError for too many pictures."""
        columns, ignored = _layout(tuple(row), tuple(self._given.items()))
        taken = {*columns.values(), *ignored, *self._ignored}
        # An alias of a mapped column would be read before it.
        aliases = {name for key in columns for name in COLUMNS[key]}
        found = {name: value for name, value in row.items() if name not in taken | aliases}
        found |= {COLUMNS[key][0]: row.get(name) for key, name in columns.items()}
        for name in COLUMNS["instruction"]:
            if isinstance(texts := _unpacked(found.get(name)), list):
                found[name] = next((text for text in texts if text), "")
        if self._tasks:
            for name in COLUMNS["task"]:
                if isinstance(value := found.get(name), str) and value.strip():
                    found[name] = self._tasks.get(plain_name(value), value)
        return _pictures_apart(found)

    def check(self, row: Mapping[str, Any], name: str) -> None:
        """HPEditError if a column of a table's row holds pictures or texts that nothing reads."""
        columns, ignored = _layout(tuple(row), tuple(self._given.items()))
        missing = [column for column in self._given.values() if column not in row]
        if missing:
            raise HPEditError(f"{name} has no column {missing[0]!r}", hint=f"it has {', '.join(row)}")
        mapped = {alias for key in columns for alias in COLUMNS[key]} - set(columns.values())
        read = {alias for names in COLUMNS.values() for alias in names} - mapped | set(columns.values())
        first = [alias for alias in COLUMNS["image"] if alias in row]
        double = set() if "image" in columns else set(first[1:])
        left = [c for c in row if (c not in read or c in double) and c not in {*ignored, *self._ignored}]
        for column in left:
            kind = "pictures" if _holds_pictures(column, row[column]) else "texts" if _holds_text(column) else ""
            if kind:
                raise HPEditError(
                    f"{name} has a column of {kind} that is not read: {column}",
                    hint=f"say what it is, such as columns: {{image: {column}}}, or ignore: [{column}]",
                )


@lru_cache(maxsize=64)
def _layout(names: tuple[str, ...], given: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], frozenset[str]]:
    """Our column -> theirs, and what is ignored: by the recipe's map, else by the first known layout that fits."""
    if given:
        return dict(given), frozenset()
    there = set(names)
    for layout in LAYOUTS.values():
        if there >= set(layout["needs"]):
            columns = {key: name for key, name in layout["columns"].items() if name in there}
            return columns, frozenset(layout.get("ignore", ()))
    return {}, frozenset()


def _pictures_apart(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose lists of pictures, or arrays in JSON, are one picture and the others."""
    image = next((name for name in COLUMNS["image"] if row.get(name)), "image")
    names: list[Any] = []
    for column in (image, *COLUMNS["reference"]):
        value = _unpacked(row.get(column))
        names += value if isinstance(value, list) else [value] if value else []
    if len(names) < 2 and not isinstance(_unpacked(row.get(image)), list):
        return row
    if len(names) > MOST_PICTURES:
        raise HPEditError(f"has {len(names)} pictures, at most {MOST_PICTURES} can be edited together")
    if not all(isinstance(name, str) for name in names):
        raise HPEditError("has a list of pictures that are not file names")
    rest = {name: value for name, value in row.items() if name not in (image, *COLUMNS["reference"])}
    return rest | {image: names[0] if names else "", COLUMNS["reference"][0]: BETWEEN.join(names[1:])}


def _unpacked(value: Any) -> Any:
    """A cell, with a JSON array of a text as a list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return decode_json(value)
        except ValueError:
            return value
    return value


def _holds_pictures(column: str, value: Any) -> bool:
    """Whether a column is of pictures: by its name, or by what its first cell holds."""
    value = _unpacked(value)
    value = value[0] if isinstance(value, list) and value else value
    named = isinstance(value, str) and _PICTURE_NAME.search(value.strip())
    return bool(named or isinstance(value, bytes) or (_PICTURE_COLUMN.search(column) and value not in (None, "")))


def _holds_text(column: str) -> bool:
    """Whether a column is of texts about an edit, by its name."""
    return bool(_TEXT_COLUMN.search(column))
