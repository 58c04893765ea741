"""Edits to rate, and a server on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rate.serving import Serving, make_edits, serving


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    """Two editors' edits of four cases."""
    return make_edits(tmp_path / "edits")


@pytest.fixture
def app(edits: Path, tmp_path: Path) -> Iterator[Serving]:
    """A server that has them scored, without practice."""
    with serving(edits, tmp_path / "ratings.sqlite") as running:
        yield running
