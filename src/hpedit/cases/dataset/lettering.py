"""Words and colours of the pictures that a dataset carries.

The font is the one inside Pillow, laid out by Pillow's own engine, so that the same picture comes out on any machine.
It knows the letters of ASCII and little more: accents are left out, and what it cannot draw is said instead of drawn as
empty boxes.
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
"""Signs of good typography as the font has them."""
LONGEST = 1000
"""Letters of a text that are looked at: more than any line or paragraph here has room for."""
UNDRAWABLE = "(in a script that this sheet cannot draw)"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, `size` in px."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return found


def width(words: str, size: int) -> float:
    """Of a line of words, in px."""
    return font(size).getlength(words)


@cache
def _drawable(letter: str) -> bool:
    """Whether the font has the letter; else it draws the same box for it as for a letter that nobody has."""
    return letter.isspace() or bytes(font(24).getmask(letter)) != bytes(font(24).getmask("\U0010ffff"))


def drawable(words: str) -> str:
    """The words if the font can draw most of their letters, the rest as "?"; else a note that it cannot."""
    parts = unicodedata.normalize("NFKD", words.translate(PLAIN))
    words = "".join(letter for letter in parts if not unicodedata.combining(letter))
    good = [letter for letter in words if _drawable(letter)]
    if 2 * len(good) < len(words):
        return UNDRAWABLE
    return "".join(letter if _drawable(letter) else "?" for letter in words)


def wrap(words: str, size: int, room: float, lines: int) -> list[str]:
    """Words in at most `lines` lines of `room` px; what does not fit ends in an ellipsis."""
    found: list[str] = []
    line = ""
    for word in drawable(" ".join(words[:LONGEST].split())).split(" "):
        longer = f"{line} {word}" if line else word
        if line and width(longer, size) > room:
            found.append(line)
            longer = word
        line = longer
        if len(found) == lines:
            break
    if len(found) < lines:
        return [shorten(one, size, room) for one in (*found, line)]
    return [*(shorten(one, size, room) for one in found[:-1]), shorten(f"{found[-1]} {line}", size, room, more=True)]


def shorten(words: str, size: int, room: float, *, more: bool = False) -> str:
    """One line cut to `room` px with an ellipsis where it is too long, or where there is `more` to come."""
    words = words[:LONGEST]
    if not more and width(words, size) <= room:
        return words
    fits = bisect_right(range(len(words)), room, key=lambda length: width(f"{words[:length]}...", size))
    return f"{words[: max(0, fits - 1)].rstrip()}..."
