"""Photographs that are there twice: equal pixels, and pictures that look alike.

Near duplicates (another size, compression, brightness, a thin border) are found by the perceptual hash that the package
imagehash calls phash: the 8 x 8 lowest frequencies of a 32 x 32 grey copy, each above their median or not. Mirrored and
strongly cropped pictures are not found by it.

A picture without structure (one colour, a gradient, two halves) has next to no frequencies of which the signs could be
taken: what the hash says of it is rounding noise, and all such pictures look alike to it. It gets no hash, and only
equal pixels make it a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from hpedit.errors import HPEditError

SIDE = 32
"""Side of the grey copy; imagehash.phash makes the same: hash_size 8 x highfreq_factor 4."""
NO_HASH = 0
"""What stands for the hash of a picture without structure; half of a real hash's bits are ones."""
NOISE = 56.0
"""Three standard deviations of what rounding to whole grey levels (0.29 of deviation a pixel) adds to a coefficient.

The transform is unnormalised, as imagehash's: 4 sums over 32 x 32 pixels, so a coefficient's deviation is
4 x 0.29 x 32 / 2 = 18.5.
"""
MIN_FREQUENCIES = 24
"""Of the 64 frequencies so many must stand out of the noise, or the picture has too little structure for a hash."""

_BLOCK = 1024
_PAIRS_AT_ONCE = 1 << 20

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A photograph that is dropped because another one, which is kept, shows the same."""

    dropped: str
    kept: str
    kind: Literal["exact", "near"]
    distance: int
    """Bits of 64 in which the perceptual hashes differ; 0 for equal pixels."""


def pixel_sha(image: Image.Image) -> str:
    """SHA-256 (hex) of size and RGB pixels: files with other compression or metadata may be equal."""
    digest = hashlib.sha256(f"{image.width}x{image.height};".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of imagehash.phash, first bit first; NO_HASH for a picture without structure.

    Made here, bit for bit the same, since the frequencies are needed for the structure too.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    lowest = dctn(np.asarray(grey, np.float64), type=2)[:8, :8]
    if np.count_nonzero(np.abs(lowest) > NOISE) < MIN_FREQUENCIES:
        return NO_HASH
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes())


def fingerprints(image: Image.Image) -> tuple[str, int]:
    """(`pixel_sha`, `perceptual_hash`) of an RGB image."""
    return pixel_sha(image), perceptual_hash(image)


def unit_of(sha: str) -> str:
    """The source_id of a photograph to which nobody gave one, by its pixels.

    Not by its name: another folder has another 0001.jpg, and the two are not one photograph.
    """
    return f"photo-{sha[:16]}"


def find_duplicates(ids: Sequence[str], shas: Sequence[str], hashes: Sequence[int], near: int) -> list[Duplicate]:
    """Which photographs to drop, sorted by id; the order of the input does not matter.

    Photographs are gone through by id, and one is dropped when it equals, or is within `near` bits of, one that was
    kept; the first such is named. Being alike is not handed on: of a series in which each differs a little from the one
    before, the first is kept, and the next that differs enough from it.

    Args:
        ids: Unique names (HPEditError otherwise).
        shas: `pixel_sha` of each.
        hashes: `perceptual_hash` of each; NO_HASH is like none.
        near: Bits of 64; 0 looks at pixels alone.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for one, other in pairwise(order):
        if ids[one] == ids[other]:
            raise HPEditError(f"two photographs have the id {ids[one]}", hint="give each its own")
    first: dict[str, int] = {}
    for index in order:
        first.setdefault(shas[index], index)
    leaders = list(first.values())
    alike = _near([hashes[index] for index in leaders], near) if near else {}
    near_to = {leaders[one]: (leaders[other], distance) for one, (other, distance) in alike.items()}
    found = []
    for index in order:
        leader = first[shas[index]]
        if leader in near_to:
            kept, distance = near_to[leader]
            found.append(Duplicate(ids[index], ids[kept], "near", distance))
        elif leader != index:
            found.append(Duplicate(ids[index], ids[leader], "exact", 0))
    return found


def _near(hashes: Sequence[int], near: int) -> dict[int, tuple[int, int]]:
    """Of hashes in the order of preference: dropped -> (kept, distance).

    All are compared with all that are kept, block by block: 100,000 different ones take some 10 s, and memory does not
    grow with the number of pairs.
    """
    values = np.array(hashes, np.uint64)
    real = np.flatnonzero(values != NO_HASH)
    values = values[real]
    kept = np.empty(len(values), np.int64)
    count = 0
    dropped: dict[int, tuple[int, int]] = {}
    for start in range(0, len(values), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(values)))
        owner, distance = _first_within(values[block], values[kept[:count]], near)
        for index in np.flatnonzero(owner >= 0).tolist():
            dropped[start + index] = (int(kept[owner[index]]), int(distance[index]))
        new = block[owner < 0]
        distances = np.bitwise_count(values[new, None] ^ values[None, new])
        taken = np.zeros(len(new), bool)
        for index, leader in enumerate(new.tolist()):
            if taken[index]:
                continue
            kept[count] = leader
            count += 1
            alike = (distances[index] <= near) & ~taken
            alike[: index + 1] = False
            taken |= alike
            dropped |= {int(new[other]): (leader, int(distances[index, other])) for other in np.flatnonzero(alike)}
    return {int(real[one]): (int(real[other]), distance) for one, (other, distance) in dropped.items()}


def _first_within(values: Hashes, kept: Hashes, near: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each value the first of `kept` within `near` bits (-1 = none), and its distance."""
    owner = np.full(len(values), -1, np.int64)
    distance = np.zeros(len(values), np.int64)
    if len(kept):
        rows = max(1, _PAIRS_AT_ONCE // len(kept))
        for start in range(0, len(values), rows):
            distances = np.bitwise_count(values[start : start + rows, None] ^ kept[None])
            close = distances <= near
            found = np.flatnonzero(close.any(axis=1))
            first = close[found].argmax(axis=1)
            owner[start + found] = first
            distance[start + found] = distances[found, first]
    return owner, distance
