"""Deduplication of photographs: equal pixels, and near duplicates by perceptual hash.

Near duplicates (another size, compression, brightness, a thin border) are found by imagehash's phash: the 8 x 8 lowest
frequencies of a 32 x 32 grey copy, each above their median or not. It does not find mirrored or strongly cropped ones.

A picture without structure (one colour, a gradient, two halves) has hardly any frequencies above rounding noise, so all
such pictures would look alike. It gets no hash, and only equal pixels make it a duplicate.
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
"""Side of the grey copy, as in imagehash.phash: hash_size 8 x highfreq_factor 4."""
NO_HASH = 0
"""The hash of a picture without structure; half of a real hash's bits are ones."""
NOISE = 56.0
"""Three standard deviations of the rounding noise in a coefficient: rounding to grey levels has a deviation of 0.29 a
pixel, and the unnormalised transform sums over 32 x 32 pixels: 4 x 0.29 x 32 / 2 = 18.5."""
MIN_FREQUENCIES = 24
"""Of the 64 frequencies, how many must exceed the noise for a hash."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A photograph that is dropped as a duplicate of another one."""

    dropped: str
    kept: str
    kind: Literal["exact", "near"]
    distance: int
    """Bits of 64 in which the perceptual hashes differ; 0 for equal pixels."""


def pixel_sha(image: Image.Image) -> str:
    """SHA-256 (hex) of size and RGB pixels, independent of the file's compression and metadata."""
    digest = hashlib.sha256(f"{image.width}x{image.height};".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of imagehash.phash, first bit first; NO_HASH for a picture without structure.

    Reimplemented, bit for bit the same, since the structure test needs the frequencies too.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    lowest = dctn(np.asarray(grey, np.float64), type=2)[:8, :8]
    if np.count_nonzero(np.abs(lowest) > NOISE) < MIN_FREQUENCIES:
        return NO_HASH
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes())


def image_fingerprints(image: Image.Image) -> tuple[str, int]:
    """(`pixel_sha`, `perceptual_hash`) of an RGB image."""
    return pixel_sha(image), perceptual_hash(image)


def source_id_of_pixels(sha: str) -> str:
    """The source_id of a photograph without one: by its pixels, since 0001.jpg is another picture in another folder."""
    return f"photo-{sha[:16]}"


def find_duplicates(ids: Sequence[str], shas: Sequence[str], hashes: Sequence[int], near: int) -> list[Duplicate]:
    """Find the duplicate photographs to drop, sorted by id; the order of the input does not matter.

    In order of id, a photograph is dropped if it equals, or is within `near` bits of, one that was kept; the first such
    is named. Likeness is not transitive: of a series in which each differs a little from the one before, the first is
    kept, and the next that differs enough from it.

    Args:
        ids: Unique names (HPEditError otherwise).
        shas: `pixel_sha` of each.
        hashes: `perceptual_hash` of each; NO_HASH matches none.
        near: Bits of 64; 0 compares pixels only.
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
    """Near duplicates among hashes in order of preference: dropped -> (first kept one in reach, distance).

    Each is compared with all kept before it: 100,000 distinct ones take some 10 s, and memory grows with their number.
    """
    values = np.array(hashes, np.uint64)
    kept, places = np.empty_like(values), np.empty(len(values), np.int64)
    count = 0
    dropped: dict[int, tuple[int, int]] = {}
    for place in np.flatnonzero(values != NO_HASH).tolist():
        distances = np.bitwise_count(kept[:count] ^ values[place])
        close = distances <= near
        first = int(close.argmax()) if count else 0
        if count and close[first]:
            dropped[place] = (int(places[first]), int(distances[first]))
        else:
            kept[count], places[count] = values[place], place
            count += 1
    return dropped
