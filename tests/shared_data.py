"""Real photographs and ratings that lie beside the repository, or where HPEDIT_SHARED_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("HPEDIT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def shared_data(name: str, marker: str = "") -> Path:
    """The path `name` below the shared data; skips the test, saying why, where it (or `marker` in it) is missing."""
    path = SHARED / name
    if not (path / marker).exists():
        pytest.skip(f"no {path / marker}; set HPEDIT_SHARED_DATA to the folder that holds {Path(name).parts[0]}")
    return path
