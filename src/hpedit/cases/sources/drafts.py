"""Instructions that came with photographs which are of use without them too."""

from __future__ import annotations

from collections.abc import Mapping

from hpedit.cases.photos import Draft, Skipped
from hpedit.cases.sources.columns import draft_of
from hpedit.errors import HPEditError


def read_drafts(cells: Mapping[str, str], photo_id: str) -> tuple[tuple[Draft, ...], tuple[Skipped, ...]]:
    """The instruction of a row, if it has one; one that can't be used is named, and the photograph stays."""
    if "instruction" not in cells:
        return (), ()
    try:
        return (draft_of(cells),), ()
    except HPEditError as error:
        return (), (Skipped(f"{photo_id}#instruction", error.message),)
