"""The base class of photo sources: chunks, ids, origins, licences, and fingerprints of content."""

from __future__ import annotations

import glob
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from PIL import Image

from hpedit.cases.recipe import SourceSection
from hpedit.cases.source_items import Chunk, InstructionCandidate, Photo, Skipped
from hpedit.cases.sources.columns import category_labels
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.run_folder import hash_path

Item = Photo | Case | Skipped
"""What a source yields: photographs, ready cases, and what could not be used."""


class OpenedSource(ABC):
    """One source of photographs or ready cases in a recipe.

    It depends on its arguments alone and a chunk is plain data, so any process can read any chunk.

    Args:
        section: Its section of the recipe.
        number: Its index in the recipe, the first part of every id.
        base: Folder that the section's paths are relative to.
        seed: Of the recipe; only scenes of the mini world depend on it.
    """

    def __init__(self, section: SourceSection, number: int, base: Path, seed: int = 0) -> None:
        self.section, self.number, self.base, self.seed = section, number, base, seed

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all content that is read, under relative names: a copy of the folder has the same."""

    @abstractmethod
    def items(self) -> Iterator[str]:
        """What to read, in order, encoded as text by each source: names, rows, offsets in a shard."""

    @abstractmethod
    def read_item(self, item: str) -> Iterator[Item]:
        """Read the photographs (or cases) of one item, and what of it could not be used."""

    def chunks(self, size: int = 64) -> Iterator[Chunk]:
        """Split the items into chunks of `size`; HPEditError if the source itself can't be read."""
        rest = self.items()
        number = 0
        while items := tuple(islice(rest, size)):
            yield Chunk(self.number, number, items)
            number += 1

    def read(self, chunk: Chunk) -> Iterator[Item]:
        """Read the items of a chunk in order, one picture in memory at a time."""
        for item in chunk.items:
            yield from self.read_item(item)

    def id(self, name: str) -> str:
        """The id of `name` in this source, unique in a build."""
        return f"{self.number}/{name}"

    def origin(self, cells: Mapping[str, str], name: str) -> str:
        """Where a picture comes from: by its row or side file, else the section's origin and its name."""
        return cells.get("origin") or (f"{self.section.origin}/{name}" if self.section.origin else name)

    def licence(self, cells: Mapping[str, str]) -> str:
        """The picture's own licence, else the section's; "" if unknown."""
        return cells.get("licence") or self.section.licence or ""

    def make_photo(
        self, id: str, image: Image.Image, name: str, cells: Mapping[str, str], *given: InstructionCandidate
    ) -> Photo:
        """A photograph called `name` in its origin, with what `cells` say of it and the instructions given with it."""
        origin, licence, source_id = self.origin(cells, name), self.licence(cells), cells.get("source_id", "")
        return Photo(id, image, origin, licence, source_id, category_labels(cells), given)

    def path(self, text: str) -> Path:
        """Resolve a path of the section."""
        return self.base / Path(text).expanduser()


def hash_files(files: Mapping[str, Path]) -> str:
    """SHA-256 (hex) of the names and contents of files, in the order given.

    Every byte is read: sizes and times would miss a replaced picture, and differ for a copied folder.
    """

    def content(path: Path) -> str:
        try:
            return hash_path(path) if path.is_file() else "-"
        except OSError as error:
            return f"unreadable: {error.errno}"

    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for name, found in zip(files, pool.map(content, files.values()), strict=True):
            digest.update(f"{name}\0{found}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def find_source_files(path: Path, suffixes: tuple[str, ...], what: str) -> list[Path]:
    """Find the files of a source by path, folder or glob, sorted; HPEditError if there are none.

    A shard may be a link to elsewhere, as in a hub's cache.
    """
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file()]
        found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    else:
        # A file whose name contains [ or * is itself, not a pattern.
        matches = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
        found = [Path(match) for match in matches if Path(match).is_file()]
    if not found:
        raise HPEditError(f"{path} holds no {what}", hint=f"name a file, a folder or a glob of {', '.join(suffixes)}")
    return sorted(found)


def files_by_name(files: list[Path]) -> dict[str, Path]:
    """Files by their names relative to their common folder."""
    parent = Path(os.path.commonpath([file.parent for file in files]))
    return {file.relative_to(parent).as_posix(): file for file in files}
