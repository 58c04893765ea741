"""WebDataset shards: tar files in which the files of one sample share their name up to its first dot.

Nothing is unpacked to the disk. A shard is gone through once for the places of its samples, and any process reads any
sample from its place on.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from hpedit.cases.photos import Photo, Skipped
from hpedit.cases.sources.base import Item, OpenedSource, by_name, files_of, hash_named
from hpedit.cases.sources.columns import labels_of
from hpedit.cases.sources.drafts import read_drafts
from hpedit.cases.sources.folder import MAX_SIDE_FILE, parse_side_file
from hpedit.errors import HPEditError
from hpedit.store.images import EXTENSIONS, MAX_BYTES, decode_image
from hpedit.store.paths import why_outside

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


@dataclass(slots=True)
class _Sample:
    """The members of one sample, as `suffix -> member`, or why it is none."""

    key: str
    offset: int
    """Of the header of its first member in the (uncompressed) shard."""
    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    count: int = 0
    """Entries of the tar that belong to it."""
    fault: str = ""


class WebDatasetSource(OpenedSource):
    """Samples of shards: one picture each, and a .json that may speak of it (licence, url, label, instruction)."""

    @cached_property
    def _shards(self) -> dict[str, Path]:
        return by_name(files_of(self.path(str(self.section.webdataset)), SUFFIXES, "tar shard"))

    def fingerprint(self) -> str:
        """See `OpenedSource`."""
        return hash_named(self._shards)

    def items(self) -> Iterator[str]:
        """Samples as offset:entries:shard (entries are "=" if the key was there before), damage as ?entries:error."""
        left = self.section.count or sys.maxsize
        for name, path in self._shards.items():
            if not left:
                return
            end = 0
            keys: set[str] = set()
            try:
                for sample in _samples(path, 0, sys.maxsize):
                    yield f"{sample.offset}:{'=' if sample.key in keys else sample.count}:{name}"
                    keys.add(sample.key)
                    end += sample.count
                    left -= 1
                    if not left:
                        break
            except _DAMAGE as error:
                yield f"?{end}:{error}\n{name}"

    def read_item(self, item: str) -> Iterator[Item]:
        """See `OpenedSource`."""
        if item.startswith("?"):
            place, _, name = item[1:].rpartition("\n")
            count, _, error = place.partition(":")
            yield Skipped(self.id(name), f"{name} is damaged after its first {count} files: {error}")
            return
        offset, count, name = item.split(":", 2)
        path = self._shards[name]
        try:
            sample = next(_samples(path, int(offset), 1 if count == "=" else int(count)))
            if count == "=":
                yield Skipped(self.id(f"{name}@{offset}"), f"{sample.key} is in {name} twice")
            else:
                yield from self._sample(sample, path, name)
        except _DAMAGE as error:
            yield Skipped(self.id(f"{name}@{offset}"), f"{name} is damaged at byte {offset}: {error}")

    def _sample(self, sample: _Sample, path: Path, shard: str) -> Iterator[Item]:
        photo_id = self.id(f"{shard}/{sample.key}")
        try:
            if sample.fault:
                raise HPEditError(sample.fault)
            suffix = self._picture(sample)
            name = f"{sample.key}.{suffix}"
            data = _read(path, sample.members[suffix], MAX_BYTES, name)
            image = decode_image(data, name, EXTENSIONS.get(PurePosixPath(name).suffix))
            cells: dict[str, str] = {}
            if "json" in sample.members:
                about = f"{sample.key}.json"
                cells = parse_side_file(_read(path, sample.members["json"], MAX_SIDE_FILE, about), about)
            if "cls" in sample.members and "label" not in cells:
                text = _read(path, sample.members["cls"], MAX_SIDE_FILE, f"{sample.key}.cls")
                cells["label"] = text.decode("utf-8", "replace").strip()
        except HPEditError as error:
            yield Skipped(photo_id, error.message)
            return
        drafts, skipped = read_drafts(cells, photo_id)
        yield Photo(
            photo_id,
            image,
            self.origin(cells, f"{shard}/{name}"),
            self.licence(cells),
            source_id=cells.get("source_id", ""),
            labels=labels_of(cells),
            drafts=drafts,
        )
        yield from skipped

    def _picture(self, sample: _Sample) -> str:
        """Which of a sample's files is the photograph; HPEditError where that can't be told."""
        pictures = [suffix for suffix in sample.members if f".{suffix.rpartition('.')[2]}" in EXTENSIONS]
        wanted = self.section.image_column
        if wanted is not None:
            pictures = [suffix for suffix in pictures if wanted in (suffix, suffix.partition(".")[0])]
        if len(pictures) == 1:
            return pictures[0]
        if pictures:
            raise HPEditError(f"{sample.key} has several pictures: {', '.join(pictures)}; name one by image_column")
        found = ", ".join(sample.members) or "no file"
        raise HPEditError(f"{sample.key} has no picture{f' {wanted}' if wanted else ''}, only {found}")


def _samples(path: Path, offset: int, most: int) -> Iterator[_Sample]:
    """The samples of a shard from an offset on, made of at most `most` entries; tar and file errors are passed on."""
    current: _Sample | None = None
    with closing(_stream(path)) as stream:
        stream.seek(offset)
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for _ in range(most):
                member = tar.next()
                # The list of all members would grow with the shard.
                tar.members = []  # type: ignore[attr-defined]
                if member is None:
                    break
                folder, _, last = member.name.rpartition("/")
                stem, _, suffix = last.partition(".")
                if member.isdir() or not stem:
                    # A folder or a hidden file; still an entry of the sample around it.
                    if current is not None:
                        current.count += 1
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if current is None or key != current.key:
                    if current is not None:
                        yield current
                    current = _Sample(key, member.offset)
                _add(current, suffix.lower(), member)
    if current is not None:
        yield current


def _add(sample: _Sample, suffix: str, member: tarfile.TarInfo) -> None:
    """Take a member into its sample, or note why the sample can't be used."""
    sample.count += 1
    name = member.name
    if reason := why_outside(name):
        sample.fault = reason
    elif not member.isreg():
        sample.fault = f"{name} is a link or a device"
    elif suffix in sample.members:
        sample.fault = f"{name} is there twice"
    elif not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        sample.fault = f"{name!r} has a name that is not UTF-8"
    sample.members[suffix] = member


def _stream(path: Path) -> BinaryIO:
    """The tar itself, uncompressed and seekable."""
    suffix = path.suffix.lower()
    if suffix in (".gz", ".tgz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".bz2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    return cast(BinaryIO, lzma.open(path, "rb")) if suffix == ".xz" else path.open("rb")


def _read(path: Path, member: tarfile.TarInfo, most: int, name: str) -> bytes:
    """The content of a member; HPEditError if it is too large or cut off."""
    if member.size > most:
        raise HPEditError(f"{name} is too large: {member.size:,} bytes")
    if member.issparse():
        raise HPEditError(f"{name} is a sparse file")
    with closing(_stream(path)) as stream:
        stream.seek(member.offset_data)
        data = stream.read(member.size)
    if len(data) < member.size:
        raise HPEditError(f"{name} is cut off: the shard ends after {len(data):,} of {member.size:,} bytes")
    return data
