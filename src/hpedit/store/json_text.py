"""The one reader of JSON that comes from outside: files, lines of JSONL, replies of servers, cells of databases.

Valid JSON can still break a program later on: 100,000 brackets exhaust the stack, an integer of 5,000 digits fits no
float, and half of a surrogate pair cannot be written to any file. All of it is refused here, with the same error as a
syntax fault. NaN passes, for its readers say which field it is in. `seal` and `unseal` add and check a checksum, so
that a bit that flipped on the disk is found when the file is read again.
"""

from __future__ import annotations

import json
import re
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError

MAX_DEPTH = 200
"""Brackets within brackets; real files have fewer than 20."""
MAX_DIGITS = 300
"""Digits of an integer: the longest that still fits a float."""
MAX_BYTES = 1 << 30
"""Bytes of a file or a reply."""
SEAL = "crc32"
"""Key of the checksum in a sealed object."""
_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def decode_json(text: str | bytes) -> Any:
    """Parse JSON: ValueError unless it is valid, shallow and encodable. Bytes are UTF-8."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    _check_depth(decoded)
    value = json.loads(decoded, parse_int=_whole)
    if _HALF_PAIR.search(decoded):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair") from error
    return value


def parse_json(text: str | bytes, name: str) -> Any:
    """Parse JSON as `decode_json` does; HPEditError that names what was parsed: a path, or a path and a line."""
    try:
        return decode_json(text)
    except ValueError as error:
        raise HPEditError(f"{name} is not valid JSON: {error}", "write it again, or restore a copy") from error


def read_json_file(path: Path) -> Any:
    """Parse a JSON file and check its seal, if it has one; HPEditError if it is missing, not a file, or bad."""
    return unseal(parse_json(_file_bytes(path), str(path)), str(path))


def _file_bytes(path: Path) -> bytes:
    """Content of a plain file of at most MAX_BYTES; HPEditError for what is missing, a pipe, a folder or larger."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise HPEditError(f"{path} is not a file", hint="give a JSON file")
        if status.st_size > MAX_BYTES:
            raise HPEditError(f"{path} is too large for JSON: {status.st_size:,} bytes", f"at most {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise HPEditError(f"{path} does not exist") from error
    except OSError as error:
        raise HPEditError(f"{path} cannot be read: {error.strerror}") from error


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the checksum of its other keys, which `unseal` checks."""
    content = {key: value for key, value in record.items() if key != SEAL}
    return {**content, SEAL: _checksum(content)}


def unseal(value: Any, name: str) -> Any:
    """The record without its checksum; anything that is not sealed as it is. HPEditError if it does not match."""
    if not isinstance(value, dict) or SEAL not in value:
        return value
    content = {key: part for key, part in value.items() if key != SEAL}
    if _checksum(content) != value[SEAL]:
        raise HPEditError(
            f"{name} was altered: its checksum does not match", f'restore a copy; if you edited it, remove "{SEAL}"'
        )
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    """CRC-32 (8 hexadecimal digits) of the canonical JSON of a record: independent of spaces and of the keys' order."""
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _check_depth(text: str) -> None:
    """ValueError if brackets nest deeper than MAX_DEPTH. Texts with fewer brackets, almost all, are not looked at."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for found in re.finditer(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if found[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} brackets within brackets")


def _whole(digits: str) -> int:
    """Parse an integer of at most MAX_DIGITS digits."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits")
    return int(digits)
