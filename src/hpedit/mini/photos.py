"""Photographs of the mini world, cut into tiles that belong to one split each.

A photo is scaled down and cut into a grid of tiles. A split owns whole tiles (or whole photos, when there are many), so
crops of different splits never share a pixel. The embedded photographs come from the wheels of scikit-image and
scikit-learn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpedit.errors import HPEditError

Pixels = NDArray[np.float32]
"""Pictures as float32 arrays of shape (H, W, 3), values in [0, 1]."""

SPLITS: dict[str, float] = {"pretrain": 0.5, "train": 0.2, "calibration": 0.12, "bench": 0.18}
"""Share of the tiles each split owns. Weights are built on `pretrain` alone; the demo uses the other three."""

TILE = 64
"""Side of a tile in pixels."""
SHORT_SIDE = (192, 384)
"""Least and greatest short side of a photo in pixels when it is cut."""
WHOLE_PHOTO_SPLITS_FROM = 40
"""With at least this many photos a photo belongs to one split as a whole."""

EMBEDDED = (
    ("skimage.data", "astronaut.png", "public domain (NASA)"),
    ("skimage.data", "chelsea.png", "CC0"),
    ("skimage.data", "coffee.png", "CC0"),
    ("skimage.data", "hubble_deep_field.jpg", "public domain (NASA)"),
    ("skimage.data", "motorcycle_left.png", "CC0"),
    ("skimage.data", "rocket.jpg", "CC0"),
    ("skimage.data", "grass.png", "CC0"),
    ("skimage.data", "gravel.png", "CC0"),
    ("skimage.data", "brick.png", "CC0"),
    ("skimage.data", "ihc.png", "public domain"),
    ("skimage.data", "retina.jpg", "public domain"),
    ("sklearn.datasets.images", "china.jpg", "CC BY 2.0"),
    ("sklearn.datasets.images", "flower.jpg", "CC BY 2.0"),
)
"""Package, file and licence of each embedded photograph."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square part of one photo: pixels (TILE, TILE, 3) in [0, 1], and where it came from."""

    id: str
    pixels: Pixels
    origin: str
    licence: str


def _unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_of(key: str) -> str:
    """The split a tile (or whole photo) belongs to.

    A fixed function of its id (or file name), which draws the splits in the shares of SPLITS.
    """
    place, reached = _unit_hash("split:" + key), 0.0
    for name, share in SPLITS.items():
        reached += share
        if place < reached:
            return name
    return next(reversed(SPLITS))


def cut_tiles(photo: Image.Image, name: str, origin: str, licence: str) -> list[Tile]:
    """Scale a photo so that its short side lies within SHORT_SIDE and cut the grid of whole tiles out of it."""
    short = min(photo.size)
    scale = min(max(short, SHORT_SIDE[0]), SHORT_SIDE[1]) / short
    size = (max(TILE, round(photo.width * scale)), max(TILE, round(photo.height * scale)))
    pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32) / np.float32(255)
    rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE
    return [
        Tile(f"{name}:{i}:{j}", pixels[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE].copy(), origin, licence)
        for i in range(rows)
        for j in range(columns)
    ]


@cache
def embedded_tiles(split: str) -> tuple[Tile, ...]:
    """The tiles of the embedded photographs that belong to a split."""
    tiles: list[Tile] = []
    for package, name, licence in EMBEDDED:
        with files(package).joinpath(name).open("rb") as stream:
            photo = Image.open(stream).convert("RGB")
        tiles += cut_tiles(photo, name.rpartition(".")[0], f"{package.partition('.')[0]}/{name}", licence)
    return tuple(tile for tile in tiles if split_of(tile.id) == split)


def folder_tiles(paths: Sequence[Path], split: str) -> tuple[Tile, ...]:
    """The tiles of a user's photographs that belong to a split. Raises HPEditError when a split gets none."""
    from hpedit.store.images import load_image

    whole = len(paths) >= WHOLE_PHOTO_SPLITS_FROM
    tiles: list[Tile] = []
    for path in paths:
        if whole and split_of(path.name) != split:
            continue
        cut = cut_tiles(load_image(path), path.stem, path.name, "the user's own")
        tiles += [tile for tile in cut if whole or split_of(tile.id) == split]
    if not tiles:
        raise HPEditError(
            f"{len(paths)} photos give no tile for the split {split!r}",
            hint="use more photos (a dozen or more is plenty)",
        )
    return tuple(tiles)
