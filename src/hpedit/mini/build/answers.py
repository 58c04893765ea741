"""The right answers to the reasoning questions about an edit whose exact target is known.

Each is a probability in [0, 1] that the answer is yes, or a degree in [0, 5]: soft near its threshold, so that the mini
judge learns how far an edit is from it. Thresholds lie where about half of the base editor's edits pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpedit.mini.build.samples import Sample
from hpedit.mini.oracle import SMALL_REST, Array, gradients, mark, rms
from hpedit.scorer.prompts import LIBRARY, Reasoning

Truth = Callable[[Sample], float]


def _soft(value: float, threshold: float, width: float) -> float:
    """Probability that `value` passes `threshold`: 0.5 there, 0.88 at 2 widths above."""
    return float(1 / (1 + np.exp(-np.clip((value - threshold) / width, -30, 30))))


def _distance(edit: Array, other: Array) -> Array:
    """Root mean square over the channels of each pixel, (H, W)."""
    error: Array = np.sqrt(((edit - other) ** 2).mean(-1))
    return error


def _share(mask: NDArray[np.bool_], weight: Array) -> float:
    return float((mask * weight).sum() / max(float(weight.sum()), 1e-6))


def _rest(sample: Sample) -> Array:
    """What must stay; the whole picture where everything must change."""
    rest: Array = 1 - sample.region
    return rest if float(rest.mean()) >= SMALL_REST else np.ones_like(rest)


def followed(sample: Sample) -> float:
    """Whether the change is made."""
    change = mark(sample.source, sample.target, sample.region, sample.edit).change
    return _soft(change, 0.6, 0.1)


def kept(sample: Sample) -> float:
    """Whether the rest is preserved."""
    return _soft(mark(sample.source, sample.target, sample.region, sample.edit).keep, 0.8, 0.06)


def _flaws(sample: Sample) -> float:
    """Root mean square distance of each pixel to the nearer of source and target: what belongs to neither."""
    nearer = np.minimum(_distance(sample.edit, sample.source), _distance(sample.edit, sample.target))
    return float(np.sqrt((nearer**2).mean()))


def seams(sample: Sample) -> float:
    """Whether there are flaws."""
    return _soft(_flaws(sample), 0.055, 0.012)


def sharp(sample: Sample) -> float:
    """Whether the edit is as sharp, and as clean, as it should be."""
    rest = _rest(sample)
    found, wanted = (rms(gradients(picture), rest) for picture in (sample.edit, sample.target))
    return _soft(-abs(float(np.log((found + 0.01) / (wanted + 0.01)))), -0.2, 0.05)


def cast(sample: Sample) -> float:
    """Whether the rest's mean colour drifted."""
    rest = _rest(sample)
    drift = ((sample.edit - sample.target) * rest[..., None]).sum((0, 1)) / rest.sum()
    return _soft(float(np.abs(drift).max()), 0.04, 0.01)


def quality(sample: Sample) -> float:
    """How free of flaws it is, 0 to 5, whatever was asked for."""
    return 5 * float(np.exp(-((_flaws(sample) / 0.09) ** 2))) * (0.4 + 0.6 * sharp(sample))


def _reached(sample: Sample) -> float:
    """Share of the region that is nearer to the target than to the source."""
    nearer = _distance(sample.edit, sample.target) < _distance(sample.edit, sample.source)
    return _share(nearer, sample.region)


def present(sample: Sample) -> float:
    """Whether what is new is there."""
    return _soft(_reached(sample), 0.85, 0.04)


def left(sample: Sample) -> float:
    """Whether something of the old is left."""
    return 1 - present(sample)


def more(sample: Sample) -> float:
    """Whether something changed that should not have."""
    return _soft(_share(_distance(sample.edit, sample.target) > 0.12, 1 - sample.region), 0.06, 0.02)


def filled(sample: Sample) -> float:
    """Whether the hole is filled with what belongs there."""
    return _soft(-rms(sample.edit - sample.target, sample.region), -0.12, 0.02)


def shape(sample: Sample) -> float:
    """Whether the region's outlines are as they should be."""
    return _soft(-rms(gradients(sample.edit) - gradients(sample.target), sample.region), -0.1, 0.02)


def objects(sample: Sample) -> float:
    """Whether what lies outside the region is as sharp as before."""
    return _soft(-rms(gradients(sample.edit) - gradients(sample.target), _rest(sample)), -0.08, 0.015)


def overdone(sample: Sample) -> float:
    """Whether the change goes beyond the target."""
    wanted = (sample.target - sample.source) * sample.region[..., None]
    reach = float(((sample.edit - sample.source) * wanted).sum() / max(float((wanted**2).sum()), 1e-6))
    return _soft(reach, 1.15, 0.06)


TRUTHS: dict[str, Truth] = {
    "followed": followed,
    "kept": kept,
    "seams": seams,
    "sharp": sharp,
    "cast": cast,
    "quality": quality,
    "quality_alone": quality,
    "present": present,
    "gone": present,
    "whole": present,
    "left": left,
    "more": more,
    "filled": filled,
    "shape": shape,
    "objects": objects,
    "look": followed,
    "overdone": overdone,
    "details": kept,
}
"""Question id -> its right answer."""


def truth(question: Reasoning, sample: Sample) -> float:
    """The right answer to a question of the sample's task: probability of yes, or a degree from 0 to 5."""
    assert question in LIBRARY[sample.task]
    return TRUTHS[question.id](sample)
