"""Flaws of supervised pairs, as real editing sets have them: a share of the base editor's training targets carries one.

Each flaw is a function of source, exact target (both (H, W, 3) in [0, 1]) and region (H, W), see `hpedit.mini.oracle`.
All flaws lean to one side, and a flawed picture is faded besides, so the mean of all pairs is a flawed picture, too:
an editor that averages what it has seen, as one of few sampling steps does, makes no clean edit. Flaws that cancel each
other (a warm and a cold cast) would reward just that. docs/mini.md has share, mixture and what each costs in the
oracle's eyes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpedit.mini.drawing import Alpha, blur
from hpedit.mini.photos import Pixels

Rng = np.random.Generator
Flaw = Callable[[Pixels, Pixels, Alpha, Rng], Pixels]

FLAW_SHARE = 0.4
"""Share of supervised pairs that carry a flaw."""


PAPER = np.asarray((0.76, 0.66, 0.42), np.float32)
"""The yellowish grey that a faded picture drifts to."""


def remnants(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The lower half of what must change is left as it was."""
    del rng
    middle = float(np.nonzero(region > 0.5)[0].mean())
    lower: NDArray[np.bool_] = np.arange(region.shape[0]) >= middle
    mask: Alpha = lower[:, None] * region
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
    """The whole picture fades to yellow, as old paper does."""
    del source, region
    return target + np.float32(rng.uniform(0.3, 0.5)) * (PAPER - target)


def softening(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The whole picture is slightly blurred."""
    del source, region, rng
    return blur(target, 1.0)


def half_done(source: Pixels, target: Pixels, region: Alpha, rng: Rng) -> Pixels:
    """The edit stops half way between source and target."""
    del region
    return source + np.float32(rng.uniform(0.35, 0.6)) * (target - source)


FLAWS: dict[str, tuple[Flaw, float]] = {
    "remnants": (remnants, 0.25),
    "spill_over": (spill_over, 0.15),
    "colour_shift": (colour_shift, 0.15),
    "blur": (softening, 0.1),
    "half_done": (half_done, 0.35),
}
"""Flaw -> (function, share among the flawed pairs)."""
FADED = (0.15, 0.35)
"""How far a flawed pair fades besides, least and most."""


def flawed_picture(source: Pixels, target: Pixels, region: Alpha, rng: Rng, share: float = FLAW_SHARE) -> Pixels:
    """The target of a supervised pair: exact, or with one flaw and faded (probability `share`)."""
    if rng.random() >= share:
        return target
    names = list(FLAWS)
    name = names[int(rng.choice(len(names), p=[FLAWS[n][1] for n in names]))]
    picture = FLAWS[name][0](source, target, region, rng)
    faded = picture + np.float32(rng.uniform(*FADED)) * (PAPER - picture)
    return np.clip(faded, 0, 1).astype(np.float32)
