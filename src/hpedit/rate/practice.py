"""Practice items with feedback: ten edits of the run's own photos whose right score is known, made without a model.

A photo made black and white by arithmetic is a full-score answer to "make it black and white"; an untouched copy is a
zero; the same with heavy noise follows, but poorly. So practice needs no gold ratings, and it shows the two mistakes
that cost most agreement: rewarding a pretty copy, and grading a clean edit low.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hpedit.rate.image_cache import ImageCache, fit_to_size
from hpedit.rate.items import RatedImage, RatedItem
from hpedit.ratings.store import RatingKind, Value

COUNT = 10


def _grey(image: Image.Image) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def _other_photo(image: Image.Image, other: Image.Image) -> Image.Image:
    # If the run has a single photo, noise stands for another one.
    if other.tobytes() == image.tobytes():
        return _with_noise(Image.new("RGB", image.size, (128, 128, 128)), 90.0)
    return ImageEnhance.Brightness(ImageOps.fit(other, image.size)).enhance(1.4)


def _warm(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float32) * np.array([1.25, 1.0, 0.65], dtype=np.float32)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _with_noise(image: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0.0, deviation, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _half_grey(image: Image.Image) -> Image.Image:
    half = image.copy()
    half.paste(_grey(image).crop((0, 0, image.width // 2, image.height)), (0, 0))
    return half


_EDITS: Mapping[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "grey": lambda image, _: _grey(image),
    "half grey": lambda image, _: _half_grey(image),
    "noisy grey": lambda image, _: _with_noise(_grey(image), 45.0),
    "copy": lambda image, _: image,
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "upside down": lambda image, _: ImageOps.flip(image),
    "black": lambda image, _: Image.new("RGB", image.size),
    "other photo": _other_photo,
    "warm": lambda image, _: _warm(image),
    "blurred warm": lambda image, _: _warm(image).filter(ImageFilter.GaussianBlur(max(image.size) / 60)),
}
"""Edits of a photo; the second argument is another photo of the run, if it has two."""

_BW, _MIRROR = "make the photo black and white", "mirror the photo left to right"
_BRIGHT, _WARM = "make the photo brighter", "give the photo a warm, orange light"
_LESSONS: Mapping[str, Sequence[tuple[str, tuple[str, ...], Value, str]]] = {
    "score": (
        (_BW, ("grey",), 5, "All colour is gone and nothing else changed: it follows fully and looks real."),
        (_BW, ("copy",), 0, "Nothing changed. However good the picture looks, it does not follow the instruction."),
        (_BW, ("noisy grey",), 3, "It is black and white, as asked, but full of grain: it follows, but poorly."),
        (_MIRROR, ("mirrored",), 5, "Left and right are swapped and every detail is still there."),
        (_MIRROR, ("upside down",), 0, "It was turned upside down, not mirrored left to right: not what was asked."),
        (_WARM, ("warm",), 5, "The whole photo has the warm light, and all details are kept."),
        (_WARM, ("blurred warm",), 3, "The light is as asked, but the photo is now blurred: it follows, but poorly."),
        (_BRIGHT, ("other photo",), 0, "This is a different picture: what had to stay is gone, however bright it is."),
        (_BW, ("half grey",), 2, "Only one half follows. The instruction is about the whole photo."),
        (_WARM, ("black",), 0, "The picture is lost. A black image is never a good edit."),
    ),
    "compare": (
        (_BW, ("grey", "copy"), "A", "One is black and white, the other is an untouched copy."),
        (
            _MIRROR,
            ("upside down", "mirrored"),
            "B",
            "One is mirrored left to right as asked, the other upside down.",
        ),
        (_WARM, ("warm", "blurred warm"), "A", "Both have the light, but one is now blurred."),
        (_BW, ("copy", "black"), "both_bad", "One did nothing and the other lost the picture: neither follows."),
        (_BW, ("noisy grey", "copy"), "A", "Grain is poor, but it follows; the copy does not follow at all."),
        (_WARM, ("copy", "warm"), "B", "One has the light, the other is an untouched copy."),
        (_BW, ("half grey", "grey"), "B", "The instruction is about the whole photo; one follows in only half of it."),
        (_MIRROR, ("copy", "upside down"), "both_bad", "Neither is mirrored left to right."),
        (_BRIGHT, ("other photo", "copy"), "both_bad", "One is a different picture, the other an untouched copy."),
        (_BW, ("grey", "noisy grey"), "A", "Both are black and white, but one is full of grain."),
    ),
}
"""By kind: instruction, the edits shown, the known answer, and the explanation the rater reads."""


def practice_items(images: Sequence[RatedImage], cache: ImageCache, kind: RatingKind, count: int) -> list[RatedItem]:
    """Make `count` (at most 10) practice items of `kind` on photos of the run.

    Args:
        images: the run's edits, whose sources are used in turn.
        cache: holds those sources and takes the new images; not sealed yet.
    """
    # One per photo: ten lessons on ten photos if the run has as many.
    photos = list({rated.source: rated for rated in images}.values())
    items = []
    for number, (instruction, names, expected, text) in enumerate(_LESSONS[kind][: min(count, COUNT)]):
        photo, other = photos[number % len(photos)], photos[(number + 1) % len(photos)]
        image, other_image = cache.image(photo.source), cache.image(other.source)
        edits = tuple(
            replace(
                photo,
                edit_id=f"practice:{number}:{side}",
                case_id="practice",
                task=None,
                instruction=instruction,
                editor="practice",
                references=(),
                picture=cache.add(fit_to_size(_EDITS[name](image, other_image), photo.size)),
            )
            for side, name in enumerate(names)
        )
        items.append(RatedItem(f"practice:{kind}:{number}", kind, "practice", edits, expected, text))
    return items
