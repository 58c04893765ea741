"""The oracle: a 0-5 score of any edit whose exact target is known.

score = 5 * change * keep * detail, with

- change in [0, 1]: how much nearer to the target than the source the edit came, inside the region that must change;
- keep in [0, 1]: how well everything else was preserved. Where the whole picture must change (style, light), what has
  to stay is its structure: the picture's gradients;
- detail in [0, 1]: how much of the target's fine structure the edit shows, place by place. What is blurred, or is the
  mean of several edits, has lost it, and a squared error would not tell.

Each falls strictly with its error, so the score is monotone in all three; the exact target gets 5 and a copy of the
source 0. Errors pass through e^3/(e^2 + t^2), which forgives what no eye sees (compression to latents) and keeps the
order. `change` and `keep` are convex: the first visible flaw costs most, so that a picture with half of a flaw is no
better than a draw between a clean and a flawed one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from hpedit.errors import HPEditError
from hpedit.records import Case

Array = NDArray[np.float32]

TOLERANCE = 0.05
"""Root mean square error (in units of the pixel range) that is half forgiven."""
CHANGE_POWER = 1.5
"""`change` is this power of the share of the way that was gone; above 1, so that it is convex."""
KEEP_SCALE = 0.2
"""Felt error outside the region at which `keep` falls to 1/e."""
SMALL_REST = 0.08
"""With less than this share of pixels outside the region the structure is what must stay."""
WINDOW = 1.5
"""Standard deviation in pixels of the windows in which detail is compared."""
FAINT = 0.1
"""Gradient (in units of the pixel range per pixel, over both directions and all channels) below which a window hardly
has detail to lose."""
DETAIL_TOLERANCE = 0.35
"""Share of lost detail that is half forgiven."""
DETAIL_SCALE = 0.5
"""Felt share of lost detail at which `detail` falls to 1/e."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Parts of an oracle score, each in [0, 1]."""

    change: float
    keep: float
    detail: float

    @property
    def score(self) -> float:
        """The three parts as one score in [0, 5]; a part at 0 leaves nothing."""
        return 5 * self.change * self.keep * self.detail


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


def felt(error: float, tolerance: float = TOLERANCE) -> float:
    """What an eye makes of an error: e^3/(e^2 + t^2), strictly rising, far below e when e is small and near e above."""
    return error**3 / (error**2 + tolerance**2)


def gradients(picture: Array) -> Array:
    """Differences to the right and lower neighbour, stacked on the channel axis: (H, W, 6)."""
    right = np.diff(picture, axis=1, append=picture[:, -1:])
    down = np.diff(picture, axis=0, append=picture[-1:])
    return np.concatenate((right, down), axis=-1)


def lost_detail(target: Array, edit: Array) -> float:
    """Share in [0, 1] of the target's detail that the edit does not show.

    In each window the edit's gradients are projected on the target's: 1 is the whole contrast of its edges, 0 none, and
    more than the target has makes up for nothing. Windows count by the contrast that they have to lose. An error that
    goes along with no edge, such as a cast of colour, loses nothing.
    """
    sought, shown = gradients(target), gradients(edit)

    def windowed(product: Array) -> Array:
        pooled: Array = gaussian_filter(product.sum(-1), WINDOW, mode="nearest")
        return pooled

    energy = windowed(sought**2)
    share = (windowed(sought * shown) + FAINT**2) / (energy + FAINT**2)
    contrast = np.sqrt(energy)
    return float((np.clip(1 - share, 0, 1) * contrast).sum() / max(float(contrast.sum()), 1e-6))


def mark(source: Array, target: Array, region: Array, edit: Array) -> Marks:
    """Compare an edit with the exact target.

    Args:
        source, target, edit: (H, W, 3), values in [0, 1].
        region: (H, W) in [0, 1], 1 where the edit must change pixels.
    """
    reference = felt(rms(source - target, region))
    gone = max(0.0, 1 - felt(rms(edit - target, region)) / max(reference, 1e-6))
    rest = 1 - region
    if float(rest.mean()) < SMALL_REST:
        # A difference of two pixels has the errors of both.
        lost = rms(gradients(edit) - gradients(target), np.ones_like(region)) / 2**0.5
    else:
        lost = rms(edit - target, rest)
    softness = felt(lost_detail(target, edit), DETAIL_TOLERANCE)
    return Marks(gone**CHANGE_POWER, float(np.exp(-felt(lost) / KEEP_SCALE)), float(np.exp(-softness / DETAIL_SCALE)))


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
