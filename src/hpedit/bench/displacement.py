"""Displacement of what an edit should leave alone, in pixels, by phase correlation of overlapping tiles.

What stays agrees with the source at one shift, whatever happened to colours and light, while what was changed on
purpose correlates nowhere: the normalised cross-power spectrum of both (Kuglin & Hines 1975) has its peak at the shift
of the former. Tiles are a half of each side, nine of them; the median of their shifts passes over the tiles that were
edited, and shows a zoom as well, which moves the tiles outward.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float64]

FLAT = 0.01
"""Deviation of luma (of 1) below which a tile has nothing to be located by."""
PEAK = 0.2
"""Height of the correlation's peak, 1 for an exact shift, below which a tile says nothing."""
CHANCE = 1.3
"""A peak must be so much higher than the highest one that unrelated pictures of the tile's size have on average."""
FEWEST = 3
"""Tiles of nine that must be located; an edit that redraws the whole picture has no displacement."""
PASS = 0.35
"""Frequency, of a cycle per pixel, above which a spectrum is noise and resampling."""


def tile_displacement(edit: Array, source: Array) -> float | None:
    """Median shift of the tiles of ``edit`` (H, W) against ``source`` (H, W), lumas in [0, 1]; None if too few match.

    Shifts above a quarter of the side are underestimated.
    """
    height, width = source.shape
    if min(height, width) < 8:
        return None
    shifts = []
    for top in (0, height // 4, height // 2):
        for left in (0, width // 4, width // 2):
            tile = np.s_[top : top + height // 2, left : left + width // 2]
            if min(source[tile].std(), edit[tile].std()) >= FLAT:
                shift, peak = _phase_correlation(edit[tile], source[tile])
                shifts += [shift] if peak >= 1 else []
    return float(np.median(shifts)) if len(shifts) >= FEWEST else None


def _phase_correlation(moved: Array, still: Array) -> tuple[float, float]:
    """Length of the shift between two tiles in pixels, and the height of its peak, 1 where it is just high enough."""
    rows, columns = still.shape
    # A window, without its zero ends, so that the tile's borders are no edges.
    window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1])
    spectra = [fft.fft2((tile - np.average(tile, weights=window)) * window) for tile in (moved, still)]
    cross = spectra[0] * spectra[1].conj()
    kept = (np.hypot(fft.fftfreq(rows)[:, None], fft.fftfreq(columns)) <= PASS) & (np.abs(cross) > 0)
    normed = np.divide(cross, np.abs(cross), out=np.zeros_like(cross), where=kept)
    found = fft.ifft2(normed).real * cross.size / max(1, kept.sum())
    place = np.unravel_index(int(found.argmax()), found.shape)
    down, across = _vertex(found[:, place[1]], int(place[0])), _vertex(found[place[0]], int(place[1]))
    # The largest of so many normal values with the deviation that random phases give.
    chance = math.sqrt(2 * math.log(cross.size) / max(1, int(kept.sum())))
    return math.hypot(down, across), float(found[place]) / max(PEAK, CHANCE * chance)


def _vertex(line: Array, top: int) -> float:
    """Signed position of the peak of a periodic line, to a fraction, by the parabola through its highest point."""
    before, peak, after = (float(line[(top + step) % len(line)]) for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    place = top + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return place - len(line) if place > len(line) / 2 else place
