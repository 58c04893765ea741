"""Models in folders: their parameters by the headers of their safetensors files. The weights are not read."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any, Final

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json

BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}
LONGEST_HEADER = 100_000_000
"""bytes; safetensors itself reads no longer one."""


def parameters_of(folder: Path) -> int:
    """Numbers in all safetensors files of a component's folder.

    HPEditError if there is none, or one is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise HPEditError(f"{folder} holds no safetensors weights", hint="is the folder whole?")
    return sum(_numbers(file) for file in files)


def bytes_of(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def config_of(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A component's configuration; HPEditError if there is none or it is no object."""
    file = folder / name
    if not file.is_file():
        raise HPEditError(f"there is no {file}", hint="give the folder of a complete model")
    found = read_json(file)
    if not isinstance(found, dict):
        raise HPEditError(f"{file} is not a configuration")
    return found


def _numbers(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LONGEST_HEADER:
                raise ValueError("its header is too long")
            header = json.loads(stream.read(length))
        total, end = 0, 0
        for name, entry in header.items():
            if name != "__metadata__":
                total += math.prod(entry["shape"])
                end = max(end, entry["data_offsets"][1])
        if file.stat().st_size != 8 + length + end:
            raise ValueError("it is cut short")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HPEditError(f"{file} is not a whole safetensors file: {error}", hint="fetch it again") from error
    return total
