"""Text and colours of a dataset's pictures: fit text to a width, replace letters that the font cannot draw.

The font is Pillow's own, so that every machine draws the same picture. It has little more than ASCII.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cache

from PIL import ImageFont

INK, MUTED, RULE, PAPER = "#1c2127", "#626c78", "#e3e0da", "#ffffff"
GREY, TEAL, OCHRE, RED, GREEN = "#b4bcc6", "#0d6b80", "#d9a94e", "#b2402c", "#26754a"
"""As the report's style sheet has them."""

PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
"""Typographic signs as the font has them."""
LONGEST = 1000
"""Letters of a text that are read: more than any paragraph here has room for."""
UNDRAWABLE = "(in a script that this sheet cannot draw)"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's built-in font, `size` in px."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return found


def text_width(words: str, size: int) -> float:
    """Width of a line of text in px."""
    return font(size).getlength(words)


@cache
def _is_drawable(letter: str) -> bool:
    """Whether the font has a letter: it draws the same box for all that it lacks, as for the last code point."""
    return letter.isspace() or bytes(font(24).getmask(letter)) != bytes(font(24).getmask("\U0010ffff"))


def drawable_text(words: str) -> str:
    """Replace letters that the font lacks by "?", accents by plain letters; a note if most letters are missing."""
    parts = unicodedata.normalize("NFKD", words.translate(PLAIN))
    words = "".join(letter for letter in parts if not unicodedata.combining(letter))
    good = [letter for letter in words if _is_drawable(letter)]
    if 2 * len(good) < len(words):
        return UNDRAWABLE
    return "".join(letter if _is_drawable(letter) else "?" for letter in words)


def wrap_text(words: str, size: int, room: float, lines: int) -> list[str]:
    """Wrap text into at most `lines` lines of `room` px; what does not fit ends in an ellipsis."""
    found: list[str] = []
    line = ""
    for word in drawable_text(" ".join(words[:LONGEST].split())).split(" "):
        longer = f"{line} {word}" if line else word
        if line and text_width(longer, size) > room:
            found.append(line)
            longer = word
        line = longer
        if len(found) == lines:
            break
    if len(found) < lines:
        return [shorten_text(one, size, room) for one in (*found, line)]
    return [
        *(shorten_text(one, size, room) for one in found[:-1]),
        shorten_text(f"{found[-1]} {line}", size, room, more=True),
    ]


def shorten_text(words: str, size: int, room: float, *, more: bool = False) -> str:
    """Cut one line to `room` px, with an ellipsis if it is too long or `more` text follows."""
    words = words[:LONGEST]
    if not more and text_width(words, size) <= room:
        return words
    fits = bisect_right(range(len(words)), room, key=lambda length: text_width(f"{words[:length]}...", size))
    return f"{words[: max(0, fits - 1)].rstrip()}..."
