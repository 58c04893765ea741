"""Ready cases as a source: tables of cases, and scenes of the mini world."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hpedit import __version__
from hpedit.cases.source_items import Skipped
from hpedit.cases.sources.base import Item, OpenedSource, find_source_files
from hpedit.cases.sources.rows import RowsSource, range_of
from hpedit.errors import HPEditError
from hpedit.mini.objects import load_cutouts
from hpedit.mini.photos import Tile, embedded_tiles, folder_tiles
from hpedit.mini.scenes import make_scene, to_case
from hpedit.mini.things import DRAWN, Kit
from hpedit.store.images import list_images
from hpedit.store.run_folder import hash_path
from hpedit.store.tables import iter_cases
from hpedit.tasks import TASK_IDS

SCENES = 96
"""Scenes of a mini source without `count`."""
PLACES = ("dataset/data", "data", ".")
"""Where a folder may keep its tables of cases; the first that has any counts."""


def case_files(path: Path) -> list[Path]:
    """The tables of cases that a file or a folder (of a build, a dataset, a bench) holds, sorted.

    HPEditError if there is none.
    """
    if path.is_dir():
        if (path / "cases.parquet").is_file():
            return [path / "cases.parquet"]
        for place in PLACES:
            if found := sorted((path / place).glob("*.parquet")):
                return found
        raise HPEditError(f"{path} holds no cases", hint="name a parquet file of cases, or a folder that has some")
    return find_source_files(path, (".parquet",), "cases")


class CasesSource(RowsSource):
    """Ready cases: a parquet file, or the folder of a build, of a dataset or of a bench."""

    def files(self) -> list[Path]:
        """See `RowsSource`."""
        return case_files(self.path(str(self.section.cases)))

    def read_item(self, item: str) -> Iterator[Item]:
        """The cases of a range of rows; one whose picture is damaged ends it with an error, since cases are ours."""
        name, rows = range_of(item)
        for case in iter_cases(self.named[name], rows):
            yield replace(
                case,
                licence=case.licence or self.section.licence or "",
                origin=case.origin or self.section.origin or "",
            )


class MiniSource(OpenedSource):
    """Scenes of the mini world, in turns over the eight tasks; `count` of them, 96 unless said."""

    @cached_property
    def _photos(self) -> tuple[list[Path], list[Skipped]]:
        """The user's photographs (none = the embedded ones), and what in their folder could not be used."""
        if self.section.photos is None:
            return [], []
        folder = self.path(self.section.photos)
        paths, skipped = list_images(folder)
        if not paths:
            raise HPEditError(f"{folder} has no picture that can be read", hint="it needs PNG, JPEG or WebP files")
        return paths, self._named(folder, skipped)

    @cached_property
    def _objects(self) -> tuple[Kit, list[Skipped]]:
        """The user's cut-outs, or the drawn objects."""
        if self.section.objects is None:
            return DRAWN, []
        folder = self.path(self.section.objects)
        kit, skipped = load_cutouts(folder)
        return kit, self._named(folder, skipped)

    def _named(self, folder: Path, skipped: list[tuple[Path, str]]) -> list[Skipped]:
        """By names that do not depend on where the folder lies."""
        return [
            Skipped(self.id(path.relative_to(folder).as_posix()), reason.replace(f"{folder}{os.sep}", ""))
            for path, reason in skipped
        ]

    @cached_property
    def _tiles(self) -> tuple[Tile, ...]:
        split = str(self.section.mini)
        paths, _ = self._photos
        if not paths:
            return embedded_tiles(split)
        licence, origin = self.section.licence, self.section.origin
        return tuple(
            replace(tile, licence=licence or tile.licence, origin=f"{origin}/{tile.origin}" if origin else tile.origin)
            for tile in folder_tiles(paths, split)
        )

    def fingerprint(self) -> str:
        """Hash of the photographs and objects named; the embedded ones change with the version of the program alone."""
        digest = hashlib.sha256(f"{__version__};{self.seed};{self.section.mini}".encode())
        for text in (self.section.photos, self.section.objects):
            digest.update(hash_path(self.path(text)).encode() if text else b"-")
        return digest.hexdigest()

    def items(self) -> Iterator[str]:
        """Numbers of scenes, after what could not be used as !number."""
        yield from (f"!{number}" for number in range(len(self._photos[1]) + len(self._objects[1])))
        yield from map(str, range(self.section.count or SCENES))

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        if item.startswith("!"):
            yield [*self._photos[1], *self._objects[1]][int(item[1:])]
            return
        index, number = divmod(int(item), len(TASK_IDS))
        task = TASK_IDS[number]
        # A second mini source of a recipe has other scenes than the first, which are those of `make_cases`.
        more = (self.number,) if self.number else ()
        rng = np.random.default_rng((self.seed, number, index, *more))
        scene = make_scene(task, self._tiles, rng, self._objects[0])
        yield to_case(scene, f"{self.section.mini}{self.number or ''}-{task}-{index:04d}")
