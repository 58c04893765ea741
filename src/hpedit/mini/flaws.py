"""Flaws of supervised pairs, as real editing sets have them, and spoiled edits for building the judge.

A share of the base editor's supervised pairs carries one flaw of this mixture; see docs/mini.md for the figures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpedit.mini.drawing import SIZE, blur
from hpedit.mini.scenes import Pixels, Scene

FLAW_SHARE = 0.6
"""Share of supervised pairs that carry a flaw."""


def remnants(scene: Scene, target: Pixels, rng: np.random.Generator) -> Pixels:
    """One side of what must change is left as it was."""
    rows, columns = np.nonzero(scene.region > 0.5)
    axis = int(rng.integers(2))
    places = (rows, columns)[axis]
    middle = float(places.mean())
    grid = np.arange(SIZE)
    left = (grid < middle) if rng.random() < 0.5 else (grid >= middle)
    mask = (left[:, None] if axis == 0 else left[None, :]) * np.ones((SIZE, SIZE), np.float32)
    return target + (mask * scene.region)[..., None] * 0.85 * (scene.source - target)


def spill_over(scene: Scene, target: Pixels, rng: np.random.Generator) -> Pixels:
    """The change runs over its border: a halo around a local edit, objects drowned by a background, an overdone look."""
    del rng
    rest = 1 - scene.region
    if rest.mean() < 0.05:
        return target + 0.6 * (target - scene.source)
    soft = blur(np.repeat(scene.region[..., None], 3, -1), 2.6)
    glow = blur(target * scene.region[..., None], 2.6) / np.maximum(soft, 1e-3)
    reach = np.clip(soft * 2.6, 0, 0.75) * rest[..., None]
    return target + reach * (np.clip(glow, 0, 1) - target)


def colour_shift(scene: Scene, target: Pixels, rng: np.random.Generator) -> Pixels:
    """The whole picture drifts warm or cold."""
    del scene
    warm = np.asarray((1.22, 1.02, 0.74), np.float32)
    return target * (warm if rng.random() < 0.5 else warm[::-1])


def softening(scene: Scene, target: Pixels, rng: np.random.Generator) -> Pixels:
    """The whole picture is slightly blurred."""
    del scene, rng
    return blur(target, 1.0)


def half_done(scene: Scene, target: Pixels, rng: np.random.Generator) -> Pixels:
    """The edit stops half way between source and target."""
    return scene.source + float(rng.uniform(0.35, 0.6)) * (target - scene.source)


FLAWS: dict[str, tuple[Callable[[Scene, Pixels, np.random.Generator], Pixels], float]] = {
    "remnants": (remnants, 0.22),
    "spill_over": (spill_over, 0.2),
    "colour_shift": (colour_shift, 0.22),
    "blur": (softening, 0.14),
    "half_done": (half_done, 0.22),
}
"""Flaw -> (function, share among the flawed pairs)."""


def flawed_target(scene: Scene, rng: np.random.Generator, share: float = FLAW_SHARE) -> Pixels:
    """The target of a supervised pair: exact, or with one flaw (probability `share`)."""
    if rng.random() >= share:
        return scene.target
    names = list(FLAWS)
    name = names[int(rng.choice(len(names), p=[FLAWS[n][1] for n in names]))]
    return np.clip(FLAWS[name][0](scene, scene.target, rng), 0, 1).astype(np.float32)
