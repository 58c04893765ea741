"""What every kind of source has in common: chunks, names, licences, and hashes of content."""

from __future__ import annotations

import glob
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from hpedit.cases.photos import Chunk, Photo, Skipped
from hpedit.cases.recipe import SourceSection
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.run_folder import hash_path

Item = Photo | Case | Skipped
"""What a source gives: photographs, ready cases, and what could not be used."""


class OpenedSource(ABC):
    """One source of a recipe, ready to be read.

    It is made of (section, number, base, seed) alone, and a chunk is plain data: any process can read any chunk.

    Args:
        section: Its section of the recipe.
        number: Its place in the recipe, the first part of every id.
        base: Folder that the paths of the section are relative to.
        seed: Of the recipe; only scenes of the mini world depend on it.
    """

    def __init__(self, section: SourceSection, number: int, base: Path, seed: int = 0) -> None:
        self.section, self.number, self.base, self.seed = section, number, base, seed

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all content that is read, by relative names: another folder with the same files is equal."""

    @abstractmethod
    def items(self) -> Iterator[str]:
        """What there is to read, in order and in the source's own words: names, rows, places in a shard."""

    @abstractmethod
    def read_item(self, item: str) -> Iterator[Item]:
        """The photographs (or cases) of one item, and what of it could not be used."""

    def chunks(self, size: int = 64) -> Iterator[Chunk]:
        """Everything there is to read, in parts of `size` items; HPEditError if the source itself can't be read."""
        rest = self.items()
        number = 0
        while items := tuple(islice(rest, size)):
            yield Chunk(self.number, number, items)
            number += 1

    def read(self, chunk: Chunk) -> Iterator[Item]:
        """What the items of `chunk` hold, in their order, one picture in memory at a time."""
        for item in chunk.items:
            yield from self.read_item(item)

    def id(self, name: str) -> str:
        """The id, unique in a build, of something called `name` in this source."""
        return f"{self.number}/{name}"

    def origin(self, cells: Mapping[str, str], name: str) -> str:
        """Where a picture comes from, as its row or side file says, else the section's origin and its name."""
        return cells.get("origin") or (f"{self.section.origin}/{name}" if self.section.origin else name)

    def licence(self, cells: Mapping[str, str]) -> str:
        """The picture's own licence, else the section's; "" where nobody names one."""
        return cells.get("licence") or self.section.licence or ""

    def path(self, text: str) -> Path:
        """A path of the section."""
        return self.base / Path(text).expanduser()


def hash_files(root: Path, names: Iterable[str]) -> str:
    """SHA-256 (hex) of the relative names and contents of files below `root`, in the order given.

    Every byte counts: sizes and times would miss a picture that was replaced, or call a copied folder another one.
    """

    def one(name: str) -> str:
        try:
            return hash_path(root / name) if (root / name).is_file() else "-"
        except OSError as error:
            return f"unreadable: {error.errno}"

    digest = hashlib.sha256()
    names = list(names)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for name, content in zip(names, pool.map(one, names), strict=True):
            digest.update(f"{name}\0{content}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def files_of(path: Path, suffixes: tuple[str, ...], what: str) -> list[Path]:
    """The files that a path, a folder or a glob names, sorted; HPEditError if there are none.

    A shard may be a link to elsewhere, as in the cache of a hub.
    """
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file()]
        found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    else:
        # A file whose own name holds such a mark is itself, not a pattern.
        matches = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
        found = [Path(match) for match in matches if Path(match).is_file()]
    if not found:
        raise HPEditError(f"{path} holds no {what}", hint=f"name a file, a folder or a glob of {', '.join(suffixes)}")
    return sorted(found)


def by_name(files: list[Path]) -> dict[str, Path]:
    """Files by their names relative to the folder that holds them all."""
    parent = Path(os.path.commonpath([file.parent for file in files]))
    return {file.relative_to(parent).as_posix(): file for file in files}


def hash_named(files: Mapping[str, Path]) -> str:
    """SHA-256 (hex) of names and contents of files."""
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{hash_path(file)}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
