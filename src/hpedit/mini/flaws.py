"""Flaws of supervised pairs, as real editing sets have them: a share of the base editor's training targets carries one.

Each flaw is a function of source, exact target (both (H, W, 3) in [0, 1]) and region (H, W), see `hpedit.mini.oracle`.
docs/mini.md has share, mixture and what each costs in the oracle's eyes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpedit.mini.drawing import Alpha, blur
from hpedit.mini.photos import Pixels

Rng = np.random.Generator
Flaw = Callable[[Pixels, Pixels, Alpha, Rng], Pixels]

FLAW_SHARE = 0.5
"""Share of supervised pairs that carry a flaw."""


def remnants(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """One side of what must change is left as it was."""
    axis = int(rng.integers(2))
    middle = float(np.nonzero(region > 0.5)[axis].mean())
    grid = np.arange(region.shape[axis])
    side: NDArray[np.bool_] = (grid < middle) if rng.random() < 0.5 else (grid >= middle)
    mask: Alpha = (side[:, None] if axis == 0 else side[None, :]) * region
    return target + mask[..., None] * np.float32(0.85) * (source - target)


def spill_over(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The change runs over its border: a halo at a local edit, objects drowned by a background, an overdone look."""
    del rng
    rest = 1 - region
    if rest.mean() < 0.05:
        return target + np.float32(0.6) * (target - source)
    soft = blur(np.repeat(region[..., None], 3, -1), 2.6)
    share: Pixels = np.maximum(soft, 1e-3)
    glow = blur(target * region[..., None], 2.6) / share
    reach: Pixels = np.clip(soft * 2.6, 0, 0.75) * rest[..., None]
    lit: Pixels = np.clip(glow, 0, 1)
    return target + reach * (lit - target)


def colour_shift(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The whole picture drifts warm or cold."""
    del source, region
    warm = np.asarray((1.22, 1.02, 0.74), np.float32)
    return target * (warm if rng.random() < 0.5 else warm[::-1])


def softening(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The whole picture is slightly blurred."""
    del source, region, rng
    return blur(target, 1.0)


def half_done(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The edit stops half way between source and target."""
    del region
    return source + np.float32(rng.uniform(0.35, 0.6)) * (target - source)


FLAWS: dict[str, tuple[Flaw, float]] = {
    "remnants": (remnants, 0.22),
    "spill_over": (spill_over, 0.2),
    "colour_shift": (colour_shift, 0.22),
    "blur": (softening, 0.14),
    "half_done": (half_done, 0.22),
}
"""Flaw -> (function, share among the flawed pairs)."""


def flawed_picture(source: Pixels, target: Pixels, region: Alpha, rng: Rng, share: float = FLAW_SHARE) -> Pixels:
    """The target of a supervised pair: exact, or with one flaw (probability `share`)."""
    if rng.random() >= share:
        return target
    names = list(FLAWS)
    name = names[int(rng.choice(len(names), p=[FLAWS[n][1] for n in names]))]
    return np.clip(FLAWS[name][0](source, target, region, rng), 0, 1).astype(np.float32)
