"""Sources of ready cases: tables of cases, and scenes of the mini world."""

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
from hpedit.cases.sources.parquet import RowsSource, parse_row_range
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
"""Default number of scenes of a mini source."""
PLACES = ("dataset/data", "data", ".")
"""Where a folder may keep its tables of cases; the first with any counts."""


def case_files(path: Path) -> list[Path]:
    """Find the tables of cases of a file or folder (build, dataset, bench), sorted; HPEditError if there is none."""
    if path.is_dir():
        if (path / "cases.parquet").is_file():
            return [path / "cases.parquet"]
        for place in PLACES:
            if found := sorted((path / place).glob("*.parquet")):
                return found
        raise HPEditError(f"{path} holds no cases", hint="name a parquet file of cases, or a folder with some")
    return find_source_files(path, (".parquet",), "cases")


class CasesSource(RowsSource):
    """Ready cases of a parquet file, or of the folder of a build, dataset or bench."""

    def files(self) -> list[Path]:
        """See `RowsSource`."""
        return case_files(self.path(str(self.section.cases)))

    def read_item(self, item: str) -> Iterator[Item]:
        """Read the cases of a range of rows; a damaged picture is an error, since we wrote it."""
        name, rows = parse_row_range(item)
        for case in iter_cases(self.named[name], rows):
            section = self.section
            licence, origin = case.licence or section.licence or "", case.origin or section.origin or ""
            yield replace(case, licence=licence, origin=origin)


class MiniSource(OpenedSource):
    """Scenes of the mini world, tasks in turn; `count` of them, 96 by default."""

    @cached_property
    def _photos(self) -> tuple[list[Path], list[Skipped]]:
        """The user's photographs (none = the embedded ones), and skipped files of their folder."""
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
        """Skipped files by relative names, independent of the folder's place."""
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
        """Hash of the named photographs and objects; embedded ones change only with the package version."""
        digest = hashlib.sha256(f"{__version__};{self.seed};{self.section.mini}".encode())
        for text in (self.section.photos, self.section.objects):
            digest.update(hash_path(self.path(text)).encode() if text else b"-")
        return digest.hexdigest()

    def items(self) -> Iterator[str]:
        """Skipped files as !number, then numbers of scenes."""
        yield from (f"!{number}" for number in range(len(self._photos[1]) + len(self._objects[1])))
        yield from map(str, range(self.section.count or SCENES))

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        if item.startswith("!"):
            yield [*self._photos[1], *self._objects[1]][int(item[1:])]
            return
        index, number = divmod(int(item), len(TASK_IDS))
        task = TASK_IDS[number]
        # Further mini sources of a recipe draw other scenes; the first draws those of `make_cases`.
        more = (self.number,) if self.number else ()
        rng = np.random.default_rng((self.seed, number, index, *more))
        scene = make_scene(task, self._tiles, rng, self._objects[0])
        yield to_case(scene, f"{self.section.mini}{self.number or ''}-{task}-{index:04d}")
