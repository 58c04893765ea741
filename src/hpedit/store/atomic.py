"""Files that are either the old ones or the new ones, never half of each.

`atomic_write` is the only way in which this project replaces a file. `append_jsonl` is the only way in which it
appends: a record is one line and one write, so a kill can tear the last line at most, which `read_jsonl` drops and
the next append removes.
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

logger = logging.getLogger(__name__)

TEMPORARY = ".tmp-"
"""How the names of files begin that are still being written, or that a kill has left half written."""

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM})


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder, to the disk; on POSIX a rename lives in the folder, so both are needed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; when the block ends well, it takes the place of `path`.

    For writers that need a path (parquet, safetensors). A reader, or a kill at any moment, sees the old content or
    the new. When the block raises, the old file stays and the temporary one is removed. The permissions are those
    that a plain open would give.
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_mode_of(path))
        fsync_path(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Replace `path` by `data` (text as UTF-8), as `replacing` does. OSError of the file system is passed on."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def naming_disk(folder: Path | str) -> Iterator[None]:
    """Turn a disk's own errors (full, broken, read-only, over quota) within it into one HPEditError; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise HPEditError(
            f"{error.filename or folder} can't be written: {error.strerror}",
            hint="make room or mend the disk; the same command continues from the last checkpoint",
        ) from error


def _mode_of(path: Path) -> int:
    """The mode to give the new file: the old file's, else 0666 less the process's umask (mkstemp gives 0600)."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def dump_json(value: Any) -> str:
    """JSON as we write it to files: sorted keys, indented, final newline; NaN and infinity raise ValueError."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path | str) -> Any:
    """The content of a JSON file. A missing, empty or broken file is an HPEditError that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise HPEditError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HPEditError(f"{path} is not valid JSON: {error}") from error


def append_jsonl(path: Path | str, record: Mapping[str, Any]) -> None:
    """Append `record` as one line of JSON and fsync. A torn last line, left by a kill, is cut off first.

    NaN and infinity raise ValueError: JSON has none, and a metric that is NaN should be recorded as null by who knows
    why.
    """
    line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with Path(path).open("a+b") as file:
        _cut_torn_line(file.fileno(), Path(path))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


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
    """All records of a JSONL file, oldest first; a missing file has none.

    Blank lines and a byte order mark are skipped, a last line without its newline is left out (a kill tore it; the
    writer's next append removes it). Any other bad line is an HPEditError that names file and line.
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
            records.append(_parse_line(line, path, number))
    return records


def _parse_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HPEditError(f"{path}:{number}: not a line of JSON: {error}") from error
    if not isinstance(record, dict):
        raise HPEditError(f"{path}:{number}: a {type(record).__name__} where an object is expected")
    return record
