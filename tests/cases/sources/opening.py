"""Making pictures and reading sources in tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hpedit.cases.recipe import SourceSection
from hpedit.cases.source_items import Photo, Skipped
from hpedit.cases.sources import Item, open_source


def picture(seed: int = 0, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Colour noise, another one for every seed."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(seed: int = 0, format: str = "PNG", **options: Any) -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    picture(seed).save(buffer, format=format, **options)
    return buffer.getvalue()


def put(path: Path, seed: int = 0) -> Path:
    """Write a PNG, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(seed))
    return path


def read(base: Path, number: int = 0, size: int = 64, seed: int = 0, **section: Any) -> list[Item]:
    """All that a source gives, each chunk read by a source of its own as another process would."""
    made = SourceSection(**section)
    chunks = list(open_source(made, number, base, seed).chunks(size))
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    return [item for chunk in chunks for item in open_source(made, number, base, seed).read(chunk)]


def photos(items: list[Item]) -> dict[str, Photo]:
    """Photographs by id."""
    found = [item for item in items if isinstance(item, Photo)]
    assert len({photo.id for photo in found}) == len(found)
    return {photo.id: photo for photo in found}


def skipped(items: list[Item]) -> dict[str, str]:
    """Reasons by id."""
    return {item.id: item.reason for item in items if isinstance(item, Skipped)}


def fingerprint(base: Path, **section: Any) -> str:
    """Of a source."""
    return open_source(SourceSection(**section), 0, base).fingerprint()
