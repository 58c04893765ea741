"""Atomic file writes, and JSON and JSONL files that survive a kill.

This project replaces files only with `atomic_write`, and appends only with `append_jsonl`: a record is one line and one
write, so a kill can at most tear the last line, which `read_jsonl` drops and the next append removes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.store.json_text import parse_json, read_json_file, seal, unseal

logger = logging.getLogger(__name__)

TEMPORARY = ".tmp-"
"""Prefix of files that are being written, or that a kill has left half written."""

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM})


def fsync_path(path: Path) -> None:
    """Flush a file or a folder to disk; a rename is stored in the folder, so both are needed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that atomically replaces it when the block succeeds.

    For writers that need a path (parquet, safetensors). A reader, or a kill at any moment, sees either the old or the
    new content. If the block raises, the old file stays and the temporary one is removed. Permissions are those that
    a plain open would give.
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_file_mode(path))
        fsync_path(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Atomically replace the content of `path` by `data` (text as UTF-8). Passes on OSErrors of the file system."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def naming_disk(folder: Path | str) -> Iterator[None]:
    """Context that turns errors of the disk (full, broken, read-only, over quota) into an HPEditError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        hint = "free some space or repair the disk; the same command resumes from the last checkpoint"
        raise HPEditError(f"{error.filename or folder} can't be written: {error.strerror}", hint) from error


def _file_mode(path: Path) -> int:
    """Mode of the new file: the old file's, else 0666 minus the umask (mkstemp gives 0600)."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def dump_json(value: Any) -> str:
    """JSON text for files: sorted keys, indented, final newline; NaN and infinity raise ValueError."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path | str) -> Any:
    """Read a JSON file; HPEditError if it is missing, empty, invalid, or does not match its checksum."""
    return read_json_file(Path(path))


def write_json(path: Path | str, value: Any) -> None:
    """Atomically write JSON for `read_json`; an object gets a checksum, which the reader checks and takes out."""
    plain = json.loads(dump_json(value))
    atomic_write(path, dump_json(seal(plain) if isinstance(plain, dict) else plain))


def append_jsonl(path: Path | str, record: Mapping[str, Any]) -> None:
    """Append `record` as one line of JSON with its checksum, and fsync. A torn last line of a kill is cut off first.

    NaN and infinity raise ValueError: JSON has none, and only the caller knows what a NaN metric means.
    """
    line = jsonl_line(record).encode()
    with Path(path).open("a+b") as file:
        _cut_torn_line(file.fileno(), Path(path))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def jsonl_line(record: Mapping[str, Any]) -> str:
    """A record as a line of JSONL with its checksum, which `read_jsonl` checks and takes out."""
    return json.dumps(seal(record), ensure_ascii=False, allow_nan=False) + "\n"


def _cut_torn_line(descriptor: int, path: Path) -> None:
    """Truncate the file to just after its last newline."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        chunk = os.pread(descriptor, end - start, start)
        found = chunk.rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        logger.warning("%s: cut off a torn last line of %d bytes", path, size - end)
        os.ftruncate(descriptor, end)


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """All records of a JSONL file, oldest first; [] for a missing file.

    Blank lines, a byte order mark and a last line without newline (torn by a kill) are skipped. Any other bad line is
    an HPEditError with file and line.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines.pop().strip():
        logger.warning("%s: left out a torn last line", path)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            records.append(_parse_jsonl_line(line, path, number))
    return records


def _parse_jsonl_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    where = f"{path}:{number}"
    record = unseal(parse_json(line, where), where)
    if not isinstance(record, dict):
        raise HPEditError(f"{path}:{number}: a {type(record).__name__} where an object is expected")
    return record
