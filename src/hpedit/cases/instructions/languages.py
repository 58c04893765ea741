"""Languages of instructions, and a check of the script that a text is written in."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from hpedit.errors import HPEditError

LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    code: (name, tuple(scripts))
    for code, (name, *scripts) in yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text("utf-8")).items()
}
"""ISO 639-1 code -> English name, and its scripts as the Unicode names of their letters begin."""
BY_SCRIPT = {
    "ARABIC": "ar", "BENGALI": "bn", "CJK": "zh", "CYRILLIC": "ru", "DEVANAGARI": "hi", "GREEK": "el", "HANGUL": "ko",
    "HEBREW": "he", "TAMIL": "ta", "THAI": "th",
}  # fmt: skip
"""Script -> the language with most speakers that is written in it."""
MIN_SHARE = 0.6
"""Minimum share of letters in the language's script; below 1, since brand and style names may stay in Latin."""


def check_languages(codes: Sequence[str]) -> None:
    """Raise HPEditError for an unknown language code, or for none at all."""
    if not codes:
        raise HPEditError("instructions.languages is empty", hint="write languages: [en]")
    for code in codes:
        if code not in LANGUAGES:
            raise HPEditError(
                f"unsupported language {code!r}",
                hint=f"choose from {', '.join(LANGUAGES)} (ISO 639-1)",
            )


def wrong_script(text: str, code: str) -> str | None:
    """Why an instruction can't be in a language, by the script of its letters; None when it can.

    Languages that share a script are not distinguished.
    """
    name, scripts = LANGUAGES[code]
    letters = [letter for letter in text if letter.isalpha()]
    fitting = sum(_script(letter) in scripts for letter in letters)
    if letters and fitting >= MIN_SHARE * len(letters):
        return None
    return f"{fitting} of the instruction's {len(letters)} letters belong to the script of {name}"


def language_of(text: str) -> str:
    """ISO 639-1 code by the script of most letters; "en" for Latin ones, which many languages share, and for none."""
    counts = Counter(_script(letter) for letter in text if letter.isalpha())
    if not counts:
        return "en"
    if counts["HIRAGANA"] + counts["KATAKANA"]:
        return "ja"
    return BY_SCRIPT.get(counts.most_common(1)[0][0], "en")


def _script(letter: str) -> str:
    """The script of a letter, the first word of its Unicode name; half- and full-width forms count as plain ones."""
    words = unicodedata.name(letter, "?").split()
    return words[1] if words[0] in ("HALFWIDTH", "FULLWIDTH") and len(words) > 1 else words[0]
