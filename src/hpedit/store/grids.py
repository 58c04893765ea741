"""Draw sample grids of images: source | before | after, a row per case, to see what the reward does to edits."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

CELL = 128
"""Minimum side in px: smaller images are enlarged by whole factors, so that their pixels stay visible."""
MARGIN = 8
TEXT = 14
"""Height of a line of text in px."""
COLUMNS = ("source", "before", "after")


@dataclass(frozen=True, slots=True)
class GridRow:
    """A case's row in a grid."""

    caption: str
    """The instruction."""
    images: tuple[Image.Image, ...]
    """RGB, one per column: source, the base's edit, the policy's edit."""


def make_grid(rows: Sequence[GridRow], names: Sequence[str] = COLUMNS) -> Image.Image:
    """Draw the rows below each other, each with its caption, under the column names."""
    assert rows, "an empty grid"
    pictures = [[_enlarged_image(image) for image in row.images] for row in rows]
    width = max(image.width for row in pictures for image in row)
    heights = [max(image.height for image in row) for row in pictures]
    captions = [textwrap.wrap(row.caption, max(10, len(names) * width // 7)) or [""] for row in rows]
    total = 2 * MARGIN + TEXT + sum(h + 2 * MARGIN + TEXT * len(c) for h, c in zip(heights, captions, strict=True))
    grid = Image.new("RGB", (len(names) * (width + MARGIN) + MARGIN, total), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(TEXT - 2)
    for column, name in enumerate(names):
        draw.text((MARGIN + column * (width + MARGIN), MARGIN), name, "gray", font)
    top = 2 * MARGIN + TEXT
    for images, height, lines in zip(pictures, heights, captions, strict=True):
        draw.multiline_text((MARGIN, top), "\n".join(lines), "black", font, spacing=2)
        top += TEXT * len(lines) + MARGIN // 2
        for column, image in enumerate(images):
            grid.paste(image, (MARGIN + column * (width + MARGIN), top))
        top += height + 2 * MARGIN - MARGIN // 2
    return grid


def _enlarged_image(image: Image.Image) -> Image.Image:
    factor = max(1, -(-CELL // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
