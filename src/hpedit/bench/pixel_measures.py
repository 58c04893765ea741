"""Pixel measures of an edit, without a scorer: sharpness, saturation, grid energy, closeness, displacement.

None says how good an edit is; they say whether edits drift away from natural photographs, or change nothing: see
`drift`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpedit.bench.displacement import tile_displacement

Array = NDArray[np.float64]

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Rec. 709 weights."""
SMALL_SIDE = 256
"""px; smaller pictures are checked for a grid of 8 px (the tokens of a small editor), others of 16 (Qwen-Image's)."""
FLAT = 1e-3
"""Mean step between neighbours (of 1) below which a picture counts as flat and has no grid."""


def sharpness(pixels: Array) -> float:
    """Deviation of the Laplacian of luma; 0 for a flat picture, falls with blur. Pixels (H, W, 3) in [0, 1]."""
    luma = np.pad(pixels @ LUMA, 1, mode="edge")
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    return float(laplacian.std())


def colour_saturation(pixels: Array) -> float:
    """Mean of (max - min) / max over the channels, as in HSV; black pixels have 0. Pixels (H, W, 3) in [0, 1]."""
    high, low = pixels.max(axis=-1), pixels.min(axis=-1)
    return float(np.divide(high - low, high, out=np.zeros_like(high), where=high > 0).mean())


def grid_energy(pixels: Array) -> float:
    """How unevenly the steps between neighbours fall on the phases of the token grid; 0 if no phase stands out.

    The mean absolute difference of luma across each column (row) boundary is averaged by the boundary's position modulo
    the pitch; the result is the deviation of these averages over their mean, the larger of the two directions.
    """
    luma = pixels @ LUMA
    pitch = 8 if min(luma.shape) < SMALL_SIDE else 16
    return max(_phase_contrast(np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis), pitch) for axis in (0, 1))


def _phase_contrast(steps: Array, pitch: int) -> float:
    usable = len(steps) // pitch * pitch
    if usable == 0 or steps[:usable].mean() < FLAT:
        return 0.0
    phases = steps[:usable].reshape(-1, pitch).mean(axis=0)
    return float(phases.std() / phases.mean())


MEASURES: dict[str, Callable[[Array], float]] = {
    "sharpness": sharpness,
    "saturation": colour_saturation,
    "grid_energy": grid_energy,
}
CLOSENESS = "closeness"
DISPLACEMENT = "displacement"
UNTOUCHED = 1 / 255
"""Mean difference to the source, of the pixel range, up to which an edit counts as unchanged."""
PIXEL_MEASURES = (*MEASURES, CLOSENESS, DISPLACEMENT)
"""Names of all measures of an edit, in the order of tables."""


def measure_pixels(image: Image.Image) -> dict[str, float]:
    """All measures of one picture by itself, by name."""
    pixels = _pixels(image)
    return {name: function(pixels) for name, function in MEASURES.items()}


def measure_source(source: Image.Image) -> dict[str, float | None]:
    """`PIXEL_MEASURES` of an untouched source."""
    return {**measure_pixels(source), CLOSENESS: 1.0, DISPLACEMENT: 0.0}


def measure_edit(edit: Image.Image, source: Image.Image) -> dict[str, float | None]:
    """`PIXEL_MEASURES` of an edit; the source is scaled to its size.

    Closeness is 1 minus the mean absolute difference to the source, over pixels and channels in [0, 1]; 1 = unchanged.
    Displacement is in pixels, None where nothing can be located: see `hpedit.bench.displacement`.
    """
    same = source if source.size == edit.size else source.resize(edit.size, Image.Resampling.LANCZOS)
    after, before = _pixels(edit), _pixels(same)
    return {
        **measure_pixels(edit),
        CLOSENESS: float(1 - np.abs(after - before).mean()),
        DISPLACEMENT: tile_displacement(after @ LUMA, before @ LUMA),
    }


def _pixels(image: Image.Image) -> Array:
    """(H, W, 3) of the picture in [0, 1]."""
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255
