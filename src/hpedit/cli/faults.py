"""Turns errors of the machine into two lines: the disk, the network's addresses, SQLite, parquet, memory.

Stages let such errors pass, so that there is one place that words them. What is not in here is a bug and keeps its
traceback.
"""

from __future__ import annotations

import errno
import os
import sys

from hpedit.errors import HPEditError

_HINTS = {
    errno.ENOSPC: "free some space; the same command continues",
    errno.EDQUOT: "free some of your quota; the same command continues",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "grant permission, or choose another folder",
    errno.EPERM: "grant permission, or choose another folder",
    errno.ENOENT: "was it moved or deleted? create it, or give another path",
    errno.ENOTDIR: "a file stands where a folder is meant: give another path",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "give another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the links lead in a circle: give another path",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.EADDRINUSE: "choose another --port",
    errno.EIO: "check the disk; the same command continues",
}


def explained(error: BaseException) -> HPEditError | None:
    """The error in words, with a hint; None for one that is a bug."""
    if isinstance(error, HPEditError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        where = os.fspath(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
        name = where.decode(errors="replace") if isinstance(where, bytes) else where
        said = error.strerror or str(error)
        return HPEditError(f"{name}: {said}" if name else said, _HINTS.get(error.errno, "check the path and the disk"))
    if isinstance(error, MemoryError):
        return HPEditError("there is not enough memory", hint="give smaller inputs, or a machine with more")
    return _of_library(error)


def _of_library(error: BaseException) -> HPEditError | None:
    """Errors of libraries, looked up among what is loaded: to import one here would slow every command."""
    kinds = {
        ("sqlite3", "Error"): ("a database cannot be used", "restore a backup, or give another file"),
        ("pyarrow", "ArrowException"): ("a parquet file cannot be used", "write it again"),
        ("safetensors", "SafetensorError"): ("weights cannot be used", "get or write them again"),
    }
    for (module, name), (what, hint) in kinds.items():
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return HPEditError(f"{what}: {' '.join(str(error).split())}", hint)
    if isinstance(error, ValueError) and "null byte" in str(error):
        return HPEditError("a path holds a NUL character", hint="give another path")
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib's resolve
        return HPEditError(str(error), hint=_HINTS[errno.ELOOP])
    if isinstance(error, UnicodeError):
        return HPEditError("a text or a path is not valid Unicode", hint="write it in UTF-8")
    return None
