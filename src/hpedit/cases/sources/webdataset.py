"""WebDataset shards: tar files in which the files of one sample share their name up to its first dot.

Nothing is unpacked to the disk. A shard is gone through once for the places of its samples, and any process reads any
sample from its place on. A compressed shard can only be read forwards: it stays open from one sample to the next, and
what is needed of a sample is read in passing.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    content: dict[str, bytes] = field(default_factory=dict)
    """What was read of the members, by suffix."""
    fault: str = ""

    def picture(self, wanted: str | None) -> str:
        """Which of the files is the photograph; HPEditError where that can't be told."""
        pictures = [suffix for suffix in self.members if _is_picture(suffix, wanted)]
        if len(pictures) == 1:
            return pictures[0]
        if pictures:
            raise HPEditError(f"{self.key} has several pictures: {', '.join(pictures)}; name one by image_column")
        found = ", ".join(self.members) or "no file"
        raise HPEditError(f"{self.key} has no picture{f' {wanted}' if wanted else ''}, only {found}")

    def read(self, suffix: str, most: int) -> bytes:
        """The content of a member; HPEditError if it is larger than `most` bytes, sparse, or cut off."""
        member, name = self.members[suffix], f"{self.key}.{suffix}"
        if member.size > most:
            raise HPEditError(f"{name} is too large: {member.size:,} bytes")
        if member.issparse():
            raise HPEditError(f"{name} is a sparse file")
        data = self.content[suffix]
        if len(data) < member.size:
            raise HPEditError(f"{name} is cut off: the shard ends after {len(data):,} of {member.size:,} bytes")
        return data


Wish = Callable[[_Sample, str, tarfile.TarInfo], bool]
"""Whether a member of a sample, by its suffix, is to be read."""


class WebDatasetSource(OpenedSource):
    """Samples of shards: one picture each, and a .json that may speak of it (licence, url, label, instruction)."""

    _held: tuple[Path, BinaryIO] | None = None
    """The compressed shard that is open."""

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
                with self._stream(path) as stream:
                    for sample in _samples(stream, 0, sys.maxsize):
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
        try:
            with self._stream(self._shards[name]) as stream:
                sample = next(_samples(stream, int(offset), 1 if count == "=" else int(count), self._is_needed))
        except _DAMAGE as error:
            yield Skipped(self.id(f"{name}@{offset}"), f"{name} is damaged at byte {offset}: {error}")
            return
        if count == "=":
            yield Skipped(self.id(f"{name}@{offset}"), f"{sample.key} is in {name} twice")
        else:
            yield from self._sample(sample, name)

    @contextmanager
    def _stream(self, path: Path) -> Iterator[BinaryIO]:
        """The tar itself, uncompressed and seekable."""
        if path.suffix.lower() == ".tar":
            with path.open("rb") as stream:
                yield stream
            return
        if self._held is None or self._held[0] != path:
            self._let_go()
            self._held = path, _uncompressed(path)
        try:
            yield self._held[1]
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._held is not None:
            self._held[1].close()
            self._held = None

    def _is_needed(self, sample: _Sample, suffix: str, member: tarfile.TarInfo) -> bool:
        """Whether a photograph is made of a member; of several pictures none is, and the first is enough to hold."""
        wanted = self.section.image_column
        if suffix in ("json", "cls"):
            return member.size <= MAX_SIDE_FILE
        first = not any(_is_picture(other, wanted) for other in sample.content)
        return _is_picture(suffix, wanted) and member.size <= MAX_BYTES and first

    def _sample(self, sample: _Sample, shard: str) -> Iterator[Item]:
        photo_id = self.id(f"{shard}/{sample.key}")
        try:
            if sample.fault:
                raise HPEditError(sample.fault)
            suffix = sample.picture(self.section.image_column)
            name = f"{sample.key}.{suffix}"
            image = decode_image(sample.read(suffix, MAX_BYTES), name, EXTENSIONS.get(PurePosixPath(name).suffix))
            cells: dict[str, str] = {}
            if "json" in sample.members:
                cells = parse_side_file(sample.read("json", MAX_SIDE_FILE), f"{sample.key}.json")
            if "cls" in sample.members and "label" not in cells:
                cells["label"] = sample.read("cls", MAX_SIDE_FILE).decode("utf-8", "replace").strip()
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


def _is_picture(suffix: str, wanted: str | None) -> bool:
    """Whether a suffix is a picture's, and the one that is wanted, if any is."""
    return f".{suffix.rpartition('.')[2]}" in EXTENSIONS and wanted in (None, suffix, suffix.partition(".")[0])


def _samples(stream: BinaryIO, offset: int, most: int, wish: Wish | None = None) -> Iterator[_Sample]:
    """The samples of a shard from an offset on, made of at most `most` entries; tar and file errors are passed on."""
    current: _Sample | None = None
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
            if wish is not None and not current.fault and wish(current, suffix.lower(), member):
                stream.seek(member.offset_data)
                current.content[suffix.lower()] = stream.read(member.size)
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


def _uncompressed(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix in (".gz", ".tgz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    return cast(BinaryIO, (bz2 if suffix == ".bz2" else lzma).open(path, "rb"))
