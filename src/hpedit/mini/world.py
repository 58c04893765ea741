"""Where the mini world's scenes come from: embedded or a user's photographs, drawn objects or a user's cut-outs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hpedit.errors import HPEditError

if TYPE_CHECKING:
    from hpedit.mini.photos import Tile
    from hpedit.mini.things import Kit
    from hpedit.records import Case


@dataclass(frozen=True)
class World:
    """One mini world; what in its folders can't be used is named on stderr.

    world = World(photos=Path("photos"), objects=Path("cutouts"))
    cases = world.cases("bench", per_task=28, seed=0)
    """

    photos: Path | None = None
    """Folder of photographs; None takes the embedded ones."""
    objects: Path | None = None
    """Folder of cut-outs, PNG with alpha; None takes the drawn shapes."""

    @cached_property
    def paths(self) -> list[Path]:
        """The photographs; empty for the embedded ones. HPEditError if none can be read."""
        from hpedit.store.images import list_images

        if self.photos is None:
            return []
        paths, skipped = list_images(self.photos)
        _name_skipped(skipped)
        if not paths:
            raise HPEditError(f"{self.photos} has no picture that can be read", hint="it needs PNG, JPEG or WebP files")
        return paths

    @cached_property
    def kit(self) -> Kit:
        """The objects; HPEditError if there are too few different ones."""
        from hpedit.mini.objects import load_cutouts
        from hpedit.mini.things import DRAWN

        if self.objects is None:
            return DRAWN
        kit, skipped = load_cutouts(self.objects)
        _name_skipped(skipped)
        return kit

    def tiles(self, split: str) -> tuple[Tile, ...]:
        """The tiles of a split; HPEditError if the photographs give it none."""
        from hpedit.mini.photos import embedded_tiles, folder_tiles

        return embedded_tiles(split) if self.photos is None else folder_tiles(self.paths, split)

    def cases(self, split: str, per_task: int, seed: int) -> list[Case]:
        """`per_task` cases of each of the eight tasks on tiles of a split."""
        from hpedit.mini.scenes import make_cases

        return make_cases(self.tiles(split), per_task, seed, split, self.kit)


def _name_skipped(skipped: Sequence[tuple[Path, str]]) -> None:
    for path, reason in skipped:
        sys.stderr.write(f"skipped {path}: {reason}\n")
