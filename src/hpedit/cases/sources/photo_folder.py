"""Read photographs from a folder, recursively, with their side files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from PIL import Image

from hpedit.cases.source_items import Photo, Skipped
from hpedit.cases.sources.base import Item, OpenedSource, hash_files
from hpedit.cases.sources.columns import cells_of
from hpedit.errors import HPEditError
from hpedit.store.images import EXTENSIONS, load_image
from hpedit.store.json_text import decode_json
from hpedit.store.paths import inside

SIDE_FILES = (".json", ".txt")
"""Suffixes of side files that downloaders leave beside a picture of the same name; a .txt is its caption."""
MAX_SIDE_FILE = 1 << 20


class FolderSource(OpenedSource):
    """Pictures below a folder; `beach.json` beside `beach.jpg` may give licence, origin (or url) and label."""

    @cached_property
    def root(self) -> Path:
        """The folder; HPEditError if it doesn't exist."""
        root = self.path(str(getattr(self.section, self.section.kind)))
        if not root.is_dir():
            raise HPEditError(f"{root} is not a folder", hint="give a folder of photographs")
        return root

    @cached_property
    def names(self) -> list[str]:
        """Relative names of all visible files, sorted by their bytes."""
        return sorted(visible_files(self.root))

    def fingerprint(self) -> str:
        """See `OpenedSource`."""
        return hash_files({name: self.root / name for name in self.names})

    def items(self) -> Iterator[str]:
        """At most `count` pictures, and all files among them that are neither picture nor side file."""
        pictures = [name for name in self.names if is_picture(name)]
        if not pictures:
            raise HPEditError(f"{self.root} contains no picture", hint="it needs PNG, JPEG, WebP or TIFF files")
        stems = {os.path.splitext(name)[0] for name in pictures}
        left = self.section.count or sys.maxsize
        for name in self.names:
            if is_picture(name):
                if left:
                    yield name
                left = max(0, left - 1)
            elif not self.is_side_file(name, stems):
                yield name

    def is_side_file(self, name: str, stems: set[str]) -> bool:
        """Whether a file describes pictures; `stems` are the pictures' names without suffix."""
        stem, suffix = os.path.splitext(name)
        return suffix.lower() in SIDE_FILES and stem in stems

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        if not is_picture(item):
            linked = (self.root / item).is_symlink() and (self.root / item).is_dir()
            why = "is a link to a folder, which is not followed" if linked else "has no image extension"
            yield Skipped(self.id(item), f"{item} {why}")
            return
        try:
            image = self.load(item)
            yield self.photo(item, image, self.cells(item))
        except HPEditError as error:
            yield Skipped(self.id(item), error.message)

    def load(self, name: str) -> Image.Image:
        """Load a picture by name; HPEditError as the reason to skip it."""
        try:
            return load_image(inside(self.root, name), name)
        except HPEditError as error:
            # visible_files escaped the name, so no such file exists.
            if "\\x" in name and not (self.root / name).exists():
                raise HPEditError(f"{name} has a name that is not UTF-8", hint="rename it") from error
            raise

    def cells(self, name: str) -> Mapping[str, str]:
        """Read the side file of a picture; HPEditError if it is unreadable."""
        side = (self.root / name).with_suffix(".json")
        if not side.is_file():
            return {}
        shown = Path(name).with_suffix(".json").as_posix()
        inside(self.root, shown)
        if side.stat().st_size > MAX_SIDE_FILE:
            raise HPEditError(f"{shown} is too large for a side file")
        return parse_side_file(side.read_bytes(), shown)

    def photo(self, name: str, image: Image.Image, cells: Mapping[str, str]) -> Photo:
        """A photograph with the cells of its side file."""
        return self.make_photo(self.id(name), image, name, cells)


def visible_files(root: Path) -> Iterator[str]:
    """Relative names of the visible files below a folder; links to folders are listed, not followed.

    A name that is not UTF-8 is escaped, so that it can be written to tables.
    """

    def stop(error: OSError) -> None:
        raise HPEditError(f"{error.filename} cannot be read: {error.strerror}", hint="fix its permissions")

    for place, folders, files in os.walk(root, onerror=stop):
        relative = os.path.relpath(place, root)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in [*files, *links]:
            if not name.startswith("."):
                path = Path(relative, name).as_posix()
                yield os.fsencode(path).decode("utf-8", "backslashreplace")


def is_picture(name: str) -> bool:
    """Whether a file name has an image extension."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def parse_side_file(data: bytes, name: str) -> dict[str, str]:
    """Parse the JSON side file of a picture into cells; HPEditError if it is no JSON object."""
    try:
        row = decode_json(data)
    except ValueError as error:
        raise HPEditError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise HPEditError(f"{name} does not hold a JSON object")
    return cells_of(row)
