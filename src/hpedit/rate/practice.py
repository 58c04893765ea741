"""Ten items to learn the scale on, with feedback: edits of the run's own photographs whose right score is known.

No model makes them. A photograph made black and white by arithmetic is a full-score answer to "make it black and
white"; an untouched copy is a zero; the same with heavy noise follows, but poorly. So the practice needs no gold
ratings, and shows the two mistakes that cost most agreement: rewarding a pretty copy, and grading a clean edit low.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hpedit.rate.items import Exhibit, Item
from hpedit.rate.pictures import PictureShelf, fit
from hpedit.ratings.store import Kind, Value

COUNT = 10
RIGHT_WITHIN = 1.0
"""An answer this near to the known score is right: people who agree still differ by one."""

Change = Callable[[Image.Image, Image.Image], Image.Image]
"""An edit of the first photograph; the second is another one, where the run has two."""


def _grey(image: Image.Image, _: Image.Image) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def _copy(image: Image.Image, _: Image.Image) -> Image.Image:
    return image


def _mirror(image: Image.Image, _: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def _flip(image: Image.Image, _: Image.Image) -> Image.Image:
    return ImageOps.flip(image)


def _black(image: Image.Image, _: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size)


def _other(image: Image.Image, other: Image.Image) -> Image.Image:
    # With a single photograph in the run, noise is another picture too.
    if other.tobytes() == image.tobytes():
        return _noise(Image.new("RGB", image.size, (128, 128, 128)), 90.0)
    return ImageEnhance.Brightness(ImageOps.fit(other, image.size)).enhance(1.4)


def _warm(image: Image.Image, _: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float32) * np.array([1.25, 1.0, 0.65], dtype=np.float32)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _noise(image: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0.0, deviation, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _noisy_grey(image: Image.Image, other: Image.Image) -> Image.Image:
    return _noise(_grey(image, other), 45.0)


def _blurred_warm(image: Image.Image, other: Image.Image) -> Image.Image:
    return _warm(image, other).filter(ImageFilter.GaussianBlur(max(image.size) / 60))


def _half_grey(image: Image.Image, other: Image.Image) -> Image.Image:
    half = image.copy()
    half.paste(_grey(image, other).crop((0, 0, image.width // 2, image.height)), (0, 0))
    return half


@dataclass(frozen=True, slots=True)
class _Lesson:
    instruction: str
    change: Change
    score: float
    """The known score."""
    text: str


_BW, _MIRROR = "make the photo black and white", "mirror the photo left to right"
_BRIGHT, _WARM = "make the photo brighter", "give the photo a warm, orange light"
_LESSONS = (
    _Lesson(_BW, _grey, 5, "All colour is gone and nothing else changed: it follows fully and looks real."),
    _Lesson(_BW, _copy, 0, "Nothing changed. However good the picture looks, it does not follow the instruction."),
    _Lesson(_BW, _noisy_grey, 3, "It is black and white, as asked, but covered with grain: it follows, but poorly."),
    _Lesson(_MIRROR, _mirror, 5, "Left and right are exchanged and every detail is there."),
    _Lesson(_MIRROR, _flip, 0, "It was turned upside down, not mirrored left to right: that was not asked for."),
    _Lesson(_WARM, _warm, 5, "The whole photo has the warm light, and all details stayed."),
    _Lesson(
        _WARM, _blurred_warm, 3, "The light is as asked, but the photo has become blurred: it follows, but poorly."
    ),
    _Lesson(_BRIGHT, _other, 0, "This is another picture: what must stay is gone, whatever the brightness."),
    _Lesson(_BW, _half_grey, 2, "Only one half follows. The instruction speaks of the whole photo."),
    _Lesson(_WARM, _black, 0, "The picture is lost. A black image is never a good edit."),
)

_PAIRS: tuple[tuple[str, Change, Change, str, str], ...] = (
    (_BW, _grey, _copy, "A", "One is black and white, the other is an untouched copy."),
    (_MIRROR, _flip, _mirror, "B", "One is mirrored left to right as asked, the other is upside down."),
    (_WARM, _warm, _blurred_warm, "A", "Both have the light, but one has become blurred."),
    (_BW, _copy, _black, "both_bad", "One did nothing and the other lost the picture: neither follows."),
    (_BW, _noisy_grey, _copy, "A", "Grain is poor, but it follows; the copy does not follow at all."),
    (_WARM, _copy, _warm, "B", "One has the light, the other is an untouched copy."),
    (_BW, _half_grey, _grey, "B", "The instruction speaks of the whole photo; one follows only in half of it."),
    (_MIRROR, _copy, _flip, "both_bad", "Neither is mirrored left to right."),
    (_BRIGHT, _other, _copy, "both_bad", "One is another picture, the other an untouched copy."),
    (_BW, _grey, _noisy_grey, "A", "Both are black and white, but one is covered with grain."),
)
"""Instruction, the two edits, the known answer, and why."""


def practice_items(exhibits: Sequence[Exhibit], shelf: PictureShelf, kind: Kind, count: int) -> list[Item]:
    """Make `count` (at most 10) practice items of `kind` on photographs of the run.

    Args:
        exhibits: The run's edits, whose sources are used in turn.
        shelf: Holds those sources, and takes the new pictures; not sealed yet.
    """
    # One exhibit a photograph: ten lessons on ten photographs, where there are so many.
    photos = list({exhibit.source: exhibit for exhibit in exhibits}.values())
    items = []
    for number in range(min(count, COUNT)):
        on, other = photos[number % len(photos)], photos[(number + 1) % len(photos)]
        image, unlike = shelf.image(on.source), shelf.image(other.source)
        if kind == "score":
            lesson = _LESSONS[number]
            instruction, text = lesson.instruction, lesson.text
            changes: tuple[Change, ...] = (lesson.change,)
            expected: Value = lesson.score
        else:
            instruction, one, two, expected, text = _PAIRS[number]
            changes = (one, two)
        edits = tuple(
            _exhibit(on, f"practice:{number}:{side}", instruction, shelf.add(fit(change(image, unlike), on.size)))
            for side, change in enumerate(changes)
        )
        items.append(Item(f"practice:{kind}:{number}", kind, "practice", edits, expected, text))
    return items


def _exhibit(on: Exhibit, name: str, instruction: str, picture: str) -> Exhibit:
    return Exhibit(name, "practice", on.source_id, None, instruction, "practice", on.source, (), picture, on.size)


def is_right(value: Value, expected: Value) -> bool:
    """Whether an answer agrees with the known one."""
    if isinstance(value, str) or isinstance(expected, str):
        return value == expected
    return abs(value - expected) <= RIGHT_WITHIN
