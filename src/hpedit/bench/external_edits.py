"""Score external edits: match a folder of images named by case id with the cases of a benchmark.

    found = match_edits(folder, cases)
    found.paths, found.missing, found.damaged, found.extra, found.sizes

A file name without its extension is the case id, in which characters outside [A-Za-z0-9._-] may be written as _.
Subfolders are searched too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.records import Case, Edit
from hpedit.store.images import EXTENSIONS, load_image
from hpedit.store.run_folder import hash_path

SHOWN = 5
"""Number of names in a message; result.json has all."""


@dataclass(frozen=True, slots=True)
class ExternalEdits:
    """The images that a folder holds for the cases, and what is missing, damaged or extra."""

    paths: Mapping[str, Path]
    """Case id -> its readable image, in the order of the cases."""
    missing: tuple[str, ...]
    """Cases without an image."""
    damaged: Mapping[str, str]
    """Case id -> what is wrong with its image."""
    extra: tuple[str, ...]
    """Files that belong to no case, relative to the folder."""
    sizes: Mapping[str, tuple[tuple[int, int], tuple[int, int]]]
    """Case id -> (width, height) of source and edit, px, where they differ."""
    fingerprint: str
    """Of the content of all used images and which case each is of."""

    @property
    def absent(self) -> dict[str, str]:
        """Case id -> why it has no edit."""
        return {name: "no image" for name in self.missing} | {
            name: f"damaged: {reason}" for name, reason in self.damaged.items()
        }

    def edits(self, label: str, ids: str = "{label}:{case}") -> Iterator[Edit]:
        """The edits, one image in memory at a time; `ids` makes their ids."""
        for case_id, path in self.paths.items():
            edit_id = ids.replace("{label}", label).replace("{case}", case_id)
            yield Edit(edit_id, case_id, f"given/{self.fingerprint}", 0, load_image(path))


def match_edits(folder: Path, cases: Sequence[Case]) -> ExternalEdits:
    """Find and read the image of each case, so that problems are known before a judge is asked.

    Raises:
        HPEditError: no folder, two images of one case, or no image of any case.
    """
    if not folder.is_dir():
        raise HPEditError(f"{folder} is not a folder", hint="it holds one image a case, named by the case's id")
    by_stem = _by_stem(cases)
    found, extra = _files(folder, by_stem)
    if not found:
        raise HPEditError(
            f"{folder} holds no image named by a case's id", hint=f"such as {cases[0].id}.png; PNG, JPEG or WebP"
        )
    paths: dict[str, Path] = {}
    damaged: dict[str, str] = {}
    sizes: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
    digest = hashlib.sha256()
    for case in cases:
        path = found.get(case.id)
        if path is None:
            continue
        try:
            size = load_image(path).size
        except HPEditError as error:
            damaged[case.id] = error.message.replace(str(path), path.relative_to(folder).as_posix())
            continue
        paths[case.id] = path
        digest.update(f"{case.id}\0{hash_path(path)}\n".encode())
        if size != case.source.size:
            sizes[case.id] = (case.source.size, size)
    missing = tuple(case.id for case in cases if case.id not in found)
    return ExternalEdits(paths, missing, damaged, tuple(extra), sizes, digest.hexdigest()[:16])


def file_stem(case_id: str) -> str:
    """A case's image file name without extension: the id with _ for characters that file systems may reject."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", case_id)


def _by_stem(cases: Sequence[Case]) -> dict[str, str]:
    """File stem -> case id: the id itself, and its safe form if no other case has it."""
    ids = {case.id for case in cases}
    stems = {case.id: case.id for case in cases}
    for case in cases:
        safe = file_stem(case.id)
        if safe in ids:
            continue
        if stems.setdefault(safe, case.id) != case.id:
            raise HPEditError(
                f"cases {stems[safe]} and {case.id} would both have the image {safe}.png", hint="rename one of them"
            )
    return stems


def _files(folder: Path, by_stem: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    """Case id -> file, and the names of all other visible files, including links that lead out of the folder."""
    found: dict[str, Path] = {}
    extra: list[str] = []
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in name.parts):
            continue
        case_id = by_stem.get(path.stem) if path.suffix.lower() in EXTENSIONS else None
        if case_id is None or not path.resolve().is_relative_to(root):
            extra.append(name.as_posix())
        elif case_id in found:
            first = found[case_id].relative_to(folder).as_posix()
            raise HPEditError(
                f"{folder} has two images of case {case_id}: {first} and {name.as_posix()}", hint="keep one"
            )
        else:
            found[case_id] = path
    return found, extra


def first_names(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
