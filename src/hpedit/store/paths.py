"""Check file names from untrusted tables and archives against path traversal."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from hpedit.errors import HPEditError

_HINT = "name a file below the folder of the table"


def why_outside(name: str) -> str:
    """Why a relative file name may lead out of its folder (path traversal), on any system; "" if it does not."""
    if "://" in name or name.lower().startswith(("file:", "data:")):
        return f"{name!r} is an address; nothing is fetched"
    windows = PureWindowsPath(name)
    if "\0" in name or windows.drive or windows.root or Path(name).is_absolute() or ".." in windows.parts:
        return f"{name!r} leads out of its folder"
    return ""


def inside(root: Path, name: str, where: str = "") -> Path:
    """The file `name` below the folder `root`; HPEditError if it leads out of it or does not exist.

    Args:
        root: Folder that must contain the file.
        name: File name as in the table.
        where: "file:line" to put before the message, or "".
    """
    before = f"{where}: " if where else ""
    if reason := why_outside(name):
        raise HPEditError(f"{before}{reason}", hint=_HINT)
    path = root / name
    # A link may lead out where no part of the name does.
    if not path.resolve().is_relative_to(root.resolve()):
        raise HPEditError(f"{before}{name!r} is a link out of its folder", hint=_HINT)
    if not path.is_file():
        raise HPEditError(f"{before}{path if where else name} is not a file", hint=_HINT)
    return path
