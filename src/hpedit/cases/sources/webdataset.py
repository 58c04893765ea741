"""Read photographs from WebDataset shards: tar files in which a sample's files share the name up to its first dot.

Nothing is unpacked to disk. A shard is scanned once for the offsets of its samples; any process reads any sample at its
offset. A compressed shard can only be read forwards: it stays open between samples.
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
from typing import Any, BinaryIO

from hpedit.cases.source_items import Skipped
from hpedit.cases.sources.base import Item, OpenedSource, files_by_name, find_source_files, hash_files
from hpedit.cases.sources.columns import row_instructions
from hpedit.cases.sources.photo_folder import MAX_SIDE_FILE, parse_side_file
from hpedit.errors import HPEditError
from hpedit.store.images import EXTENSIONS, MAX_BYTES, decode_image
from hpedit.store.paths import why_outside

COMPRESSION: dict[str, Any] = {".gz": gzip, ".tgz": gzip, ".bz2": bz2}
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


@dataclass(slots=True)
class _Sample:
    """The members of one sample by suffix, or why it can't be used."""

    key: str
    offset: int
    """Of its first member's header in the (uncompressed) shard."""
    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    count: int = 0
    """Tar entries of the sample."""
    content: dict[str, bytes] = field(default_factory=dict)
    """Bytes of the members that were read, by suffix."""
    fault: str = ""

    def picture(self, wanted: str | None) -> str:
        """The suffix of the photograph; HPEditError if there is not exactly one."""
        pictures = [suffix for suffix in self.members if _is_picture(suffix, wanted)]
        if len(pictures) == 1:
            return pictures[0]
        if pictures:
            raise HPEditError(f"{self.key} has several pictures: {', '.join(pictures)}; set image_column")
        found = ", ".join(self.members) or "no file"
        raise HPEditError(f"{self.key} has no picture{f' {wanted}' if wanted else ''}, only {found}")

    def read(self, suffix: str, most: int) -> bytes:
        """The content of a member; HPEditError if it is larger than `most` bytes, sparse, or truncated."""
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
"""Whether to read a member of a sample, by its suffix."""


class WebDatasetSource(OpenedSource):
    """Samples of tar shards: a picture, and optionally a .json about it (licence, url, label, instruction)."""

    _held: tuple[Path, BinaryIO] | None = None
    """The open compressed shard."""

    @cached_property
    def _shards(self) -> dict[str, Path]:
        return files_by_name(find_source_files(self.path(str(self.section.webdataset)), SUFFIXES, "tar shard"))

    def fingerprint(self) -> str:
        """See `OpenedSource`."""
        return hash_files(self._shards)

    def items(self) -> Iterator[str]:
        """Samples as offset:entries:shard (entries are "=" for a repeated key), damage as ?entries:error."""
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
        """The uncompressed tar, seekable."""
        if path.suffix.lower() == ".tar":
            with path.open("rb") as stream:
                yield stream
            return
        if self._held is None or self._held[0] != path:
            self._let_go()
            self._held = path, COMPRESSION.get(path.suffix.lower(), lzma).open(path, "rb")
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
        """Whether a member is needed: side files and the first picture (with several pictures none is used)."""
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
        candidates, skipped = row_instructions(cells, photo_id)
        yield self.make_photo(photo_id, image, f"{shard}/{name}", cells, *candidates)
        yield from skipped


def _is_picture(suffix: str, wanted: str | None) -> bool:
    """Whether a suffix is a picture's, and the wanted one if any is."""
    return f".{suffix.rpartition('.')[2]}" in EXTENSIONS and wanted in (None, suffix, suffix.partition(".")[0])


def _samples(stream: BinaryIO, offset: int, most: int, wish: Wish | None = None) -> Iterator[_Sample]:
    """Samples of a shard from an offset, of at most `most` entries; tar and file errors propagate."""
    current: _Sample | None = None
    stream.seek(offset)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for _ in range(most):
            member = tar.next()
            # tarfile keeps every member, which would grow with the shard.
            tar.members = []  # type: ignore[attr-defined]
            if member is None:
                break
            folder, _, last = member.name.rpartition("/")
            stem, _, suffix = last.partition(".")
            if member.isdir() or not stem:
                # A folder or hidden file still counts as an entry of the sample around it.
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
    """Add a member to its sample, or note why the sample can't be used."""
    sample.count += 1
    name = member.name
    if reason := why_outside(name):
        sample.fault = reason
    elif not member.isreg():
        sample.fault = f"{name} is a link or a device"
    elif suffix in sample.members:
        sample.fault = f"{name} is repeated"
    elif not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        sample.fault = f"{name!r} has a name that is not UTF-8"
    sample.members[suffix] = member
