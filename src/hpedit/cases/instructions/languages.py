"""Languages that instructions may be in, and the scripts that they are written in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from hpedit.errors import HPEditError

LATIN = ("LATIN",)
LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ar": ("Arabic", ("ARABIC",)),
    "bg": ("Bulgarian", ("CYRILLIC",)),
    "bn": ("Bengali", ("BENGALI",)),
    "cs": ("Czech", LATIN),
    "da": ("Danish", LATIN),
    "de": ("German", LATIN),
    "el": ("Greek", ("GREEK",)),
    "en": ("English", LATIN),
    "es": ("Spanish", LATIN),
    "fa": ("Persian", ("ARABIC",)),
    "fi": ("Finnish", LATIN),
    "fr": ("French", LATIN),
    "he": ("Hebrew", ("HEBREW",)),
    "hi": ("Hindi", ("DEVANAGARI",)),
    "hu": ("Hungarian", LATIN),
    "id": ("Indonesian", LATIN),
    "it": ("Italian", LATIN),
    "ja": ("Japanese", ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")),
    "ko": ("Korean", ("HANGUL", "CJK")),
    "nl": ("Dutch", LATIN),
    "no": ("Norwegian", LATIN),
    "pl": ("Polish", LATIN),
    "pt": ("Portuguese", LATIN),
    "ro": ("Romanian", LATIN),
    "ru": ("Russian", ("CYRILLIC",)),
    "sv": ("Swedish", LATIN),
    "ta": ("Tamil", ("TAMIL",)),
    "th": ("Thai", ("THAI",)),
    "tr": ("Turkish", LATIN),
    "uk": ("Ukrainian", ("CYRILLIC",)),
    "ur": ("Urdu", ("ARABIC",)),
    "vi": ("Vietnamese", LATIN),
    "zh": ("Chinese", ("CJK",)),
}
"""ISO 639-1 code -> English name, and its scripts as the names of Unicode's letters begin."""
MIN_SHARE = 0.6
"""Least share of letters in the language's own script: brand names and names of styles may stay in Latin."""


def known_languages(codes: Sequence[str]) -> None:
    """HPEditError for a code without a script here, or for no code at all."""
    if not codes:
        raise HPEditError("instructions.languages is empty", hint="write languages: [en]")
    for code in codes:
        if code not in LANGUAGES:
            raise HPEditError(
                f"{code!r} is no language that instructions can be checked in",
                hint=f"there are {', '.join(LANGUAGES)} (ISO 639-1)",
            )


def wrong_script(text: str, code: str) -> str | None:
    """Why a text can't be in a language, by its letters; None when it can.

    Languages of one script are not told apart.
    """
    name, scripts = LANGUAGES[code]
    letters = [letter for letter in text if letter.isalpha()]
    fitting = sum(_script(letter) in scripts for letter in letters)
    if letters and fitting >= MIN_SHARE * len(letters):
        return None
    return f"{fitting} of the instruction's {len(letters)} letters are of the script of {name}"


def _script(letter: str) -> str:
    """First word of a letter's Unicode name, as LATIN; the half- and full-width forms of East Asia count as plain."""
    words = unicodedata.name(letter, "?").split()
    return words[1] if words[0] in ("HALFWIDTH", "FULLWIDTH") and len(words) > 1 else words[0]
