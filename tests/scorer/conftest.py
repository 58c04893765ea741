"""Real ratings of real edits, where they are to be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.shared_data import shared_data

from hpedit.scorer.tables.ratings_import import import_imagenhub


@pytest.fixture(scope="session")
def imagenhub_source() -> Path:
    """Folder of the ImagenHub tables as published."""
    return shared_data("imagenhub_tie", "edits.csv")


@pytest.fixture(scope="session")
def imagenhub(imagenhub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the imported tables."""
    out = tmp_path_factory.mktemp("imagenhub")
    import_imagenhub(imagenhub_source, out)
    return out
