"""A user's cut-outs as the objects of the mini world: PNG with alpha, named by a text beside them or by their file.

kit, skipped = load_cutouts(Path("cutouts"))
cases = make_cases(tiles, 10, seed=0, name="train", kit=kit)

"horse.png" with "horse.txt" that begins "A brown horse. It ..." is a brown horse; without the text it is a horse.
Several pictures of one name are looks of one object. A new colour turns every pixel's hue and leaves its value.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from hpedit.errors import HPEditError
from hpedit.mini.drawing import OBJECT, Alpha, place
from hpedit.mini.photos import Pixels
from hpedit.mini.things import Thing
from hpedit.store.images import load_image
from hpedit.store.text_checks import refusal

HUES: Mapping[str, float] = {"red": 0.0, "yellow": 1 / 6, "green": 1 / 3, "blue": 2 / 3, "purple": 5 / 6}
"""Colour -> hue in turns. The drawn objects' white is no hue."""
LEAST_SATURATION = 0.6
"""A grey object has no hue to turn; this much makes its new colour plain to see."""
LEAST_KINDS = 4
"""A scene has up to three objects of different kinds, and an edit may bring a fourth."""
LEAST_COVERED = 16.0
"""Pixels (of OBJECT x OBJECT) that a cut-out must cover once it is scaled down; a thread of fewer can't be seen."""
MAX_WORDS = 4
"""Longer first sentences tell a story instead of a name."""
_ARTICLE = re.compile(r"^(an?|the|some)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """One picture of an object, scaled to OBJECT x OBJECT px."""

    name: str
    pixels: Pixels
    """(OBJECT, OBJECT, 3) in [0, 1]."""
    alpha: Alpha
    """(OBJECT, OBJECT) in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class CutoutThing:
    """A cut-out at its place."""

    cutout: Cutout
    center: tuple[int, int]

    @property
    def kind(self) -> str:
        """Its name: a scene has only one object of it."""
        return self.cutout.name

    @property
    def name(self) -> str:
        """See `Thing`."""
        return self.cutout.name

    def stamped(self) -> tuple[Pixels, Alpha]:
        """See `Thing`."""
        return place(self.cutout.pixels, self.cutout.alpha, self.center)


class CutoutKit:
    """Cut-outs by name; a look is a number that picks one of a name's pictures."""

    licence = "cut-outs: the user's own"

    def __init__(self, cutouts: Sequence[Cutout]) -> None:
        """Take cut-outs; HPEditError with fewer than LEAST_KINDS different names."""
        by_name: dict[str, list[Cutout]] = defaultdict(list)
        for cutout in cutouts:
            by_name[cutout.name].append(cutout)
        if len(by_name) < LEAST_KINDS:
            raise HPEditError(
                f"{len(by_name)} different cut-outs are too few: a scene needs {LEAST_KINDS}",
                hint="add PNG files with a transparent background, each named after what it shows",
            )
        self._by_name = dict(sorted(by_name.items()))

    @cached_property
    def kinds(self) -> Sequence[str]:
        """See `Kit`."""
        return tuple(self._by_name)

    def looks(self, rng: np.random.Generator, count: int) -> list[int]:
        """See `Kit`."""
        return [int(look) for look in rng.integers(0, 2**31, size=count)]

    def make(self, kind: str, look: int, center: tuple[int, int]) -> Thing:
        """See `Kit`."""
        pictures = self._by_name[kind]
        return CutoutThing(pictures[look % len(pictures)], center)

    def recolored(self, thing: Thing, rng: np.random.Generator) -> tuple[Thing, str]:
        """See `Kit`. A colour that the object nearly has changes little; `make_scene` then draws again."""
        cut = cast(CutoutThing, thing)
        color = str(rng.choice(list(HUES)))
        pixels = turn_hue(cut.cutout.pixels, HUES[color])
        return replace(cut, cutout=replace(cut.cutout, pixels=pixels)), color


def turn_hue(pixels: Pixels, hue: float) -> Pixels:
    """A picture (H, W, 3) in [0, 1] in the hue `hue` (in turns), its saturation raised to LEAST_SATURATION.

    The value (of HSV) stays: light and dark of the object are what they were.
    """
    value = pixels.max(axis=-1, keepdims=True)
    spread = value - pixels.min(axis=-1, keepdims=True)
    saturation = np.maximum(spread / np.maximum(value, 1e-6), np.float32(LEAST_SATURATION))
    # HSV to RGB for one hue: what the saturation leaves of each channel.
    offsets = np.asarray([abs((hue * 6 + start) % 6 - 3) for start in (0, 4, 2)], np.float32)
    full = np.clip(offsets - 1, 0, 1)
    turned: Pixels = (value * (1 - saturation * (1 - full))).astype(np.float32)
    return turned


def load_cutouts(folder: Path) -> tuple[CutoutKit, list[tuple[Path, str]]]:
    """The cut-outs below a folder, and what could not be used, each with the reason.

    Raises:
        HPEditError: `folder` is none, or holds too few different cut-outs.
    """
    if not folder.is_dir():
        raise HPEditError(f"{folder} is not a folder of cut-outs")
    found, skipped = [], []
    for path in sorted(folder.rglob("*.[pP][nN][gG]")):
        try:
            found.append(load_cutout(path))
        except HPEditError as error:
            skipped.append((path, error.message))
    try:
        return CutoutKit(found), skipped
    except HPEditError as error:
        why = f"; {skipped[0][0].name}: {skipped[0][1]}" if skipped else ""
        raise HPEditError(f"{folder}: {error.message}{why}", hint=error.hint) from error


def load_cutout(path: Path) -> Cutout:
    """One cut-out, cropped to what is visible and scaled to OBJECT px; HPEditError for one without transparency."""
    load_image(path)
    with Image.open(path) as opened:
        if not opened.has_transparency_data:
            raise HPEditError("it has no transparent background")
        rgba = np.asarray(ImageOps.exif_transpose(opened).convert("RGBA"), np.float32) / np.float32(255)
    visible = np.argwhere(rgba[..., 3] > 0.02)
    if rgba[..., 3].min() > 0.98 or len(visible) == 0:
        raise HPEditError("nothing of it is transparent" if len(visible) else "all of it is transparent")
    (top, left), (bottom, right) = visible.min(axis=0), visible.max(axis=0) + 1
    pixels, alpha = _scaled(rgba[top:bottom, left:right])
    if float(alpha.sum()) < LEAST_COVERED:
        raise HPEditError(f"it covers {alpha.sum():.0f} pixels at {OBJECT} px, too few to be seen")
    return Cutout(name_of(path), pixels, alpha)


def _scaled(rgba: Pixels) -> tuple[Pixels, Alpha]:
    """A picture (H, W, 4) with its longer side scaled to OBJECT px, in the middle of a square."""
    height, width = rgba.shape[:2]
    scale = OBJECT / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Colours are scaled weighted by their opacity; whatever lies under the transparent part would leave a rim.
    weighted = np.concatenate((rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]), axis=-1)
    layers = [
        np.asarray(Image.fromarray(np.ascontiguousarray(layer)).resize(size, Image.Resampling.BOX))
        for layer in np.moveaxis(weighted, -1, 0)
    ]
    square = np.zeros((OBJECT, OBJECT, 4), np.float32)
    top, left = (OBJECT - size[1]) // 2, (OBJECT - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = np.stack(layers, axis=-1)
    alpha: Alpha = np.clip(square[..., 3], 0, 1)
    pixels: Pixels = np.clip(square[..., :3] / np.maximum(alpha, 1e-3)[..., None], 0, 1)
    return pixels, alpha


def name_of(path: Path) -> str:
    """What a cut-out shows: the first sentence of the text beside it, without article, or else its file's name.

    A sentence of more than MAX_WORDS words, or one that no instruction may hold, is no name. From the file's name go
    numbers and marks: "02_red-fox" is "red fox".
    """
    text = path.with_suffix(".txt")
    if text.is_file():
        lines = text.read_text(encoding="utf-8-sig", errors="replace").strip().splitlines()
        sentence = re.split(r"[.!?](?:\s|$)", lines[0].strip(), maxsplit=1)[0] if lines else ""
        without = _ARTICLE.sub("", sentence)
        # Only without an article the capital is the sentence's and not the name's.
        name = without if without != sentence else sentence[:1].lower() + sentence[1:]
        if 0 < len(name.split()) <= MAX_WORDS and not refusal(name) and not re.search(r"[{}\ufffd]", name):
            return name
    return " ".join(re.sub(r"[\W\d_]+", " ", path.stem).split()).lower() or "object"
