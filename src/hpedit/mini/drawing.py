"""Objects, backgrounds, lights and styles of the mini world: pure functions on float pictures in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hpedit.mini.photos import Pixels

SIZE = 32
"""Side of a scene in pixels."""

OBJECT = 11
"""Diameter of an object in pixels."""

SHAPES = ("ball", "box", "triangle", "diamond", "star", "ring")

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.88, 0.12, 0.12),
    "green": (0.13, 0.68, 0.20),
    "blue": (0.13, 0.30, 0.92),
    "yellow": (0.97, 0.87, 0.13),
    "purple": (0.62, 0.18, 0.75),
    "white": (0.97, 0.97, 0.97),
}

SLOTS: dict[str, tuple[int, int]] = {
    "top left": (8, 8),
    "top right": (8, 24),
    "bottom left": (24, 8),
    "bottom right": (24, 24),
}
"""Name of a place -> (row, column) of its centre in pixels."""

Alpha = NDArray[np.float32]
"""Opacities and regions as float32 arrays of shape (H, W), values in [0, 1]."""


@cache
def _coverage(shape: str) -> tuple[Alpha, Alpha]:
    """Anti-aliased coverage of a shape and of its inner part (without the outline), each (OBJECT, OBJECT) in [0, 1]."""
    fine = 8
    axis = (np.arange(OBJECT * fine) + 0.5) / (OBJECT * fine) * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")

    def inside(margin: float) -> NDArray[np.bool_]:
        r: NDArray[np.float64] = np.hypot(x, y)
        edge = 1 - margin
        if shape == "ball":
            return r < edge
        if shape == "box":
            reach: NDArray[np.float64] = np.maximum(abs(x), abs(y))
            return reach < 0.86 * edge
        if shape == "triangle":
            return (y < 0.85 - margin) & (abs(x) < (y + 0.98 - 1.6 * margin) * 0.54)
        if shape == "diamond":
            return abs(x) + abs(y) < 1.02 * edge
        if shape == "star":
            angle = np.arctan2(x, -y)
            rim: NDArray[np.float64] = (0.68 + 0.32 * np.cos(5 * angle)) * (1.02 - 0.8 * margin)
            return r < rim
        return (r < edge) & (r > 0.42 + margin)

    def soften(mask: NDArray[np.bool_]) -> Alpha:
        share: NDArray[np.float64] = mask.reshape(OBJECT, fine, OBJECT, fine).mean((1, 3))
        return share.astype(np.float32)

    return soften(inside(0.0)), soften(inside(0.16))


def stamp(shape: str, color: str, center: tuple[int, int]) -> tuple[Pixels, Alpha]:
    """An object on an empty scene: its colours (SIZE, SIZE, 3) and its opacity (SIZE, SIZE)."""
    outer, inner = _coverage(shape)
    light = np.linspace(1.12, 0.82, OBJECT, dtype=np.float32)[:, None, None]
    face = np.clip(np.asarray(COLORS[color], np.float32) * light, 0, 1)
    return place(face * (0.35 + 0.65 * inner[..., None]), outer, center)


def place(patch: Pixels, opacity: Alpha, center: tuple[int, int]) -> tuple[Pixels, Alpha]:
    """A patch (OBJECT, OBJECT, 3) and its opacity (OBJECT, OBJECT) on an empty scene, as `stamp` returns it."""
    pixels = np.zeros((SIZE, SIZE, 3), np.float32)
    alpha = np.zeros((SIZE, SIZE), np.float32)
    top, left = center[0] - OBJECT // 2, center[1] - OBJECT // 2
    pixels[top : top + OBJECT, left : left + OBJECT] = patch
    alpha[top : top + OBJECT, left : left + OBJECT] = opacity
    return pixels, alpha


def over(background: Pixels, pixels: Pixels, alpha: Alpha) -> Pixels:
    """Composite a picture on a background (H, W, 3) with opacity `alpha` (H, W) in [0, 1]."""
    return background + alpha[..., None] * (pixels - background)


def blur(picture: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of the two spatial axes, `sigma` in pixels."""
    blurred: Pixels = gaussian_filter(picture, (sigma, sigma, 0), mode="nearest")
    return blurred


@cache
def backdrop(name: str) -> Pixels:
    """A named background: the same picture in every scene, so that the exact target is known."""
    t = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]

    def bands(top: tuple[float, ...], middle: tuple[float, ...], bottom: tuple[float, ...], horizon: float) -> Pixels:
        sky = np.asarray(top, np.float32) + (np.asarray(middle, np.float32) - np.asarray(top, np.float32)) * (
            t / horizon
        )
        rows = np.where(t < horizon, sky, np.asarray(bottom, np.float32) * (1.08 - 0.25 * (t - horizon)))
        picture: Pixels = np.clip(np.broadcast_to(rows, (SIZE, SIZE, 3)), 0, 1).astype(np.float32)
        return picture

    drawn: dict[str, Callable[[], Pixels]] = {
        "blue sky": lambda: bands((0.25, 0.5, 0.9), (0.8, 0.92, 1.0), (0.8, 0.92, 1.0), 1.0),
        "beach": lambda: bands((0.45, 0.75, 0.95), (0.6, 0.85, 0.9), (0.9, 0.8, 0.55), 0.55),
        "meadow": lambda: bands((0.6, 0.8, 0.95), (0.8, 0.9, 0.95), (0.3, 0.62, 0.22), 0.4),
        "night sky": lambda: bands((0.02, 0.03, 0.12), (0.12, 0.12, 0.32), (0.12, 0.12, 0.32), 1.0),
        "snow field": lambda: bands((0.7, 0.78, 0.86), (0.85, 0.88, 0.93), (0.95, 0.96, 0.98), 0.45),
    }
    return drawn[name]()


BACKDROPS = ("blue sky", "beach", "meadow", "night sky", "snow field")


def relight(picture: Pixels, light: str) -> Pixels:
    """Change the light of a whole picture to one of LIGHTS; (SIZE, SIZE, 3) in [0, 1] both ways."""
    ramp = np.linspace(1.5, 0.35, SIZE, dtype=np.float32)[None, :, None]

    def gain(*factors: float) -> Pixels:
        return picture * np.asarray(factors, np.float32)

    lit: dict[str, Callable[[], Pixels]] = {
        "dusk": lambda: gain(0.95, 0.55, 0.45) + np.float32(0.03),
        "night": lambda: gain(0.25, 0.32, 0.55),
        "light from the left": lambda: picture * ramp,
        "light from the right": lambda: picture * ramp[:, ::-1],
        "fog": lambda: picture * np.float32(0.45) + np.float32(0.5),
    }
    picture_in_light: Pixels = np.clip(lit[light](), 0, 1).astype(np.float32)
    return picture_in_light


LIGHTS = ("dusk", "night", "light from the left", "light from the right", "fog")

LUMA = np.asarray((0.299, 0.587, 0.114), np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


POP_INKS = np.asarray(((0.36, 0.12, 0.52), (0.98, 0.84, 0.42)), np.float32)
"""Purple and yellow: the inks of pop art for the dark and the light."""


def restyle(picture: Pixels, style: str) -> Pixels:
    """Render a whole picture in one of STYLES; (SIZE, SIZE, 3) in [0, 1] both ways."""
    luma = (picture @ LUMA)[..., None]

    styled: dict[str, Callable[[], Pixels]] = {
        "black and white": lambda: np.repeat(luma, 3, axis=-1),
        "sepia": lambda: luma * np.asarray((1.1, 0.88, 0.62), np.float32) + np.float32(0.04),
        "negative": lambda: np.float32(0.9) - np.float32(0.8) * picture,
        "pop art": lambda: POP_INKS[0] + luma * (POP_INKS[1] - POP_INKS[0]),
    }
    picture_in_style: Pixels = np.clip(styled[style](), 0, 1).astype(np.float32)
    return picture_in_style


STYLES = ("black and white", "sepia", "negative", "pop art")
