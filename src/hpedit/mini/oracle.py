"""The oracle: a 0-5 score of any edit whose exact target is known.

score = 5 * change * keep, with

- change in [0, 1]: how much nearer to the target than the source the edit came, inside the region that must change;
- keep in [0, 1]: how well everything else was preserved. Where the whole picture must change (style, light), what has
  to stay is its structure: the picture's gradients.

Both fall strictly with the error, so the score is monotone in both; the exact target gets 5 and a copy of the source 0.
Errors pass through e^2/(e + TOLERANCE), which forgives what no eye sees (compression to latents) and keeps the order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case

Array = NDArray[np.float32]

TOLERANCE = 0.02
"""Root mean square error (in units of the pixel range) that is half forgiven."""
KEEP_SCALE = 0.15
"""Root mean square error outside the region at which `keep` falls to 1/e."""
SMALL_REST = 0.08
"""With less than this share of pixels outside the region the structure is what must stay."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Parts of an oracle score, each in [0, 1]."""

    change: float
    keep: float

    @property
    def score(self) -> float:
        """The two parts as one score in [0, 5]; a part at 0 leaves nothing."""
        return 5 * self.change * self.keep


def rms(error: Array, weight: Array) -> float:
    """Weighted root mean square over pixels and channels; 0 where nothing has weight.

    Args:
        error: (H, W, C), in units of the pixel range.
        weight: (H, W), not negative.
    """
    total = float(weight.sum())
    if total <= 0:
        return 0.0
    return float(np.sqrt(((error**2).mean(-1) * weight).sum() / total))


def felt(error: float) -> float:
    """What an eye makes of an error in [0, 1]: e^2/(e + TOLERANCE), strictly rising and far below e when e is small."""
    return error * error / (error + TOLERANCE)


def gradients(picture: Array) -> Array:
    """Differences to the right and lower neighbour, stacked on the channel axis: (H, W, 6)."""
    right = np.diff(picture, axis=1, append=picture[:, -1:])
    down = np.diff(picture, axis=0, append=picture[-1:])
    return np.concatenate((right, down), axis=-1)


def mark(source: Array, target: Array, region: Array, edit: Array) -> Marks:
    """Compare an edit with the exact target.

    Args:
        source, target, edit: (H, W, 3), values in [0, 1].
        region: (H, W) in [0, 1], 1 where the edit must change pixels.
    """
    reference = felt(rms(source - target, region))
    change = max(0.0, 1 - felt(rms(edit - target, region)) / max(reference, 1e-6))
    rest = 1 - region
    if float(rest.mean()) < SMALL_REST:
        lost = rms(gradients(edit) - gradients(target), np.ones_like(region))
    else:
        lost = rms(edit - target, rest)
    return Marks(change, float(np.exp(-((lost / KEEP_SCALE) ** 2))))


def to_array(picture: Image.Image) -> Array:
    """A PIL picture as (H, W, 3) float32 in [0, 1]."""
    return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def score_edit(case: Case, image: Image.Image) -> float:
    """Oracle score in [0, 5] of an edit of a mini case. The edit is resized to the target's size if it differs.

    Raises:
        HPEditError: the case has no exact target.
    """
    if case.oracle is None:
        raise HPEditError(
            f"case {case.id} has no oracle key: only cases of the mini world do", hint="score it with HP-Scorer instead"
        )
    target = case.oracle.target
    if image.size != target.size:
        image = image.resize(target.size, Image.Resampling.BICUBIC)
    region = np.asarray(case.oracle.region.convert("L"), np.float32) / np.float32(255)
    return mark(to_array(case.source.resize(target.size)), to_array(target), region, to_array(image)).score
