"""Parquet files with a checksum over every byte.

Parquet's own checksums cover the pages and leave out their headers and the footer, where a flipped bit can rename a
column or move a row. The footer's key-value metadata of a file written here holds the CRC-32 of the whole file with
those eight digits as zeros. A file is checked once a process; files of other programs have no such key and are read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpedit.errors import HPEditError
from hpedit.store.atomic import replacing

KEY = b"hpedit.crc32"
ZEROS = b"0" * 8
_GAP = 2
"""Bytes of Thrift's compact protocol between a key and its value of eight bytes: the field's header and the length."""
_TAIL = 8
"""Bytes behind the footer: its length, and PAR1."""
_CHUNK = 1 << 24
_checked: set[tuple[str, int, int, int]] = set()
"""Path, inode, size and time of modification (ns) of the files that were checked."""


@contextmanager
def writing_parquet(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Yield a writer whose file, with its checksum, atomically replaces `path`; `options` are `ParquetWriter`'s."""
    with replacing(path) as temporary:
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            yield writer
            writer.add_key_value_metadata({KEY: ZEROS})
        place = _place(temporary)
        assert place is not None, "written above"
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(b"%08x" % _checksum(temporary, place))


def open_parquet(path: Path, **options: Any) -> pq.ParquetFile:
    """Check and open a parquet file; HPEditError if it was altered, pyarrow's errors for another kind of file."""
    check_parquet(path)
    return pq.ParquetFile(path, **options)


def check_parquet(path: Path) -> None:
    """HPEditError if the file has a checksum that does not match; OSError if it can't be read."""
    status = path.stat()
    known = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if known in _checked:
        return
    place = _place(path)
    if place is not None:
        with path.open("rb") as file:
            file.seek(place)
            kept = file.read(len(ZEROS))
        if kept != b"%08x" % _checksum(path, place):
            raise HPEditError(f"{path} was altered: its checksum does not match", "restore a copy, or write it again")
    _checked.add(known)


def _place(path: Path) -> int | None:
    """Offset of the checksum's digits in the file; None where there are none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        length = int.from_bytes(file.read(4), "little")
        start = size - _TAIL - length
        if start < 0:
            return None
        file.seek(start)
        found = file.read(length).rfind(KEY)
    return None if found < 0 else start + found + len(KEY) + _GAP


def _checksum(path: Path, place: int) -> int:
    """CRC-32 of the file with the digits at `place` as zeros."""
    total, at = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            data, first = bytearray(chunk), place - at
            for offset in range(max(first, 0), min(first + len(ZEROS), len(chunk))):
                data[offset] = ZEROS[0]
            total = zlib.crc32(data, total)
            at += len(chunk)
    return total
