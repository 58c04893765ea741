"""Real ratings of real edits, where they are to be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpedit.scorer.ratings_import import import_imagenhub

SHARED = Path(os.environ.get("HPEDIT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def imagenhub_source() -> Path:
    """Folder of the ImagenHub tables as published."""
    folder = SHARED / "imagenhub_tie"
    if not (folder / "edits.csv").is_file():
        pytest.skip(f"no ImagenHub ratings at {folder}; set HPEDIT_SHARED_DATA to the folder that holds imagenhub_tie")
    return folder


@pytest.fixture(scope="session")
def imagenhub(imagenhub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the imported tables."""
    out = tmp_path_factory.mktemp("imagenhub")
    import_imagenhub(imagenhub_source, out)
    return out
