"""Degenerate images that a reward must not prefer to an honest edit: blur, noise, grid, halos, text. Pure, no torch.

Each function takes an RGB PIL image and returns one of the same size; randomness comes only from the generator.
Strengths are relative (lengths to the short side, levels to a channel's range), so that 32 px and 1024 px are degraded
alike, and plainly visible: a probe asks whether a scorer is blind, not how finely it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Rng = np.random.Generator
Pixels = NDArray[np.float32]

NOISE_LEVEL = 0.15
"""Standard deviation of added noise, of the range."""
BLUR_SIDE = 0.04
"""Sigma of the blur, of the short side."""
GRID_SIDE = 1 / 64
"""Pitch of the grid, of the short side: 16 px at 1024 px, the token pitch of Qwen-Image-Edit; never below 4 px."""
GRID_LEVEL = 0.2
"""How much darker and lighter the grid's lines are, of the range."""
SATURATION = 2.5
"""Factor on the distance from grey."""
HALO_SIDE = 0.02
"""Sigma of the unsharp mask, of the short side."""
HALO_AMOUNT = 4.0
"""Share of the difference from the blurred picture that is added."""
SCALE = 4
"""Factor of down- and upscaling."""
LUMA = np.array((0.299, 0.587, 0.114), np.float32)
"""ITU-R BT.601."""
TEXT_WIDTH, TEXT_HEIGHT = 0.94, 0.7
"""Most of the picture's width and height that a written text may take."""


def picture_difference(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two pictures of one size, of the range."""
    return float(np.sqrt(np.mean((_pixels(one) - _pixels(other)) ** 2)))


def black_picture(picture: Image.Image) -> Image.Image:
    """A black image (a judge that ignores the image scores it like any other: EditHF, issue 3)."""
    return Image.new("RGB", picture.size)


def flat_colour(picture: Image.Image) -> Image.Image:
    """The image's mean colour everywhere."""
    mean = _pixels(picture).mean((0, 1))
    return _image(np.broadcast_to(mean, (picture.height, picture.width, 3)))


def static_noise(picture: Image.Image, rng: Rng) -> Image.Image:
    """Pure noise: every channel of every pixel uniform."""
    return Image.fromarray(rng.integers(0, 256, (picture.height, picture.width, 3), dtype=np.uint8))


def noisy(picture: Image.Image, rng: Rng) -> Image.Image:
    """Gaussian noise of NOISE_LEVEL on every channel of every pixel."""
    pixels = _pixels(picture)
    return _image(pixels + np.float32(NOISE_LEVEL) * rng.standard_normal(pixels.shape, np.float32))


def blurred(picture: Image.Image) -> Image.Image:
    """Gaussian blur of sigma BLUR_SIDE."""
    return picture.filter(ImageFilter.GaussianBlur(BLUR_SIDE * min(picture.size)))


def with_grid(picture: Image.Image) -> Image.Image:
    """Grid artefacts: dark and light lines at the pitch of an editor's tokens (flow_grpo, issue 233)."""
    pitch = max(4, round(GRID_SIDE * min(picture.size)))
    width = max(1, pitch // 4)
    rows, columns = (_lines(length, pitch, width) for length in (picture.height, picture.width))
    strongest = np.where(np.abs(rows[:, None]) > 0, rows[:, None], columns[None, :])
    return _image(_pixels(picture) + np.float32(GRID_LEVEL) * strongest[..., None])


def oversaturated(picture: Image.Image) -> Image.Image:
    """Colours SATURATION times as far from the grey of the same brightness."""
    pixels = _pixels(picture)
    grey = (pixels @ LUMA)[..., None]
    return _image(grey + np.float32(SATURATION) * (pixels - grey))


def with_halos(picture: Image.Image) -> Image.Image:
    """Over-sharpened: an unsharp mask of HALO_SIDE and HALO_AMOUNT."""
    soft = picture.filter(ImageFilter.GaussianBlur(max(0.8, HALO_SIDE * min(picture.size))))
    pixels = _pixels(picture)
    return _image(pixels + np.float32(HALO_AMOUNT) * (pixels - _pixels(soft)))


def upscaled(picture: Image.Image) -> Image.Image:
    """Downscaled by SCALE and up again."""
    small = (max(1, picture.width // SCALE), max(1, picture.height // SCALE))
    return picture.resize(small, Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)


def with_text(picture: Image.Image, text: str) -> Image.Image:
    """Text overlay across the middle, white with a black outline, as large as fits."""
    lines, size = _fit(text.split(), TEXT_WIDTH * picture.width, TEXT_HEIGHT * picture.height)
    result = picture.copy()
    ImageDraw.Draw(result).multiline_text(
        (picture.width / 2, picture.height / 2),
        "\n".join(lines),
        "white",
        ImageFont.load_default(size),
        anchor="mm",
        align="center",
        spacing=size * 0.1,
        stroke_width=size * 0.06,
        stroke_fill="black",
    )
    return result


def resized_to(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image resized; unchanged if it has that size already."""
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


def _fit(words: Sequence[str], width: float, height: float) -> tuple[list[str], float]:
    """The split of words into lines that allows the largest letters in width x height px, and their size in px."""
    font, unit = ImageFont.load_default(100), 100.0
    best: tuple[list[str], float] = ([" ".join(words)], 1.0)
    for count in range(1, len(words) + 1):
        lines = _balanced(words, count)
        widest = max(font.getlength(line) for line in lines)
        size = min(unit * width / widest, height / (1.2 * len(lines)))
        if size > best[1]:
            best = lines, size
    return best


def _balanced(words: Sequence[str], count: int) -> list[str]:
    """At most `count` lines of about equal length."""
    limit = sum(map(len, words)) / count + max(map(len, words)) / 2
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= limit:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _lines(length: int, pitch: int, width: int) -> Pixels:
    """(length,) of -1 on dark lines, 1 on the light ones beside them, 0 elsewhere."""
    place = np.arange(length) % pitch
    marks: Pixels = np.where(place < width, -1, np.where(place < 2 * width, 1, 0)).astype(np.float32)
    return marks


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def _image(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))
