"""What no instruction may be, whoever wrote it."""

from __future__ import annotations

import re
import unicodedata

MAX_LETTERS = 2000
"""Characters of one instruction: editors cut prompts at some 500 to 1000 tokens."""
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2066-\u2069\u202a-\u202e\ud800-\udfff\ufffe\uffff]")
"""Control characters but tab and line ends, marks that turn the direction of other people's text, halves of pairs.

Right-to-left scripts, emoji and combining marks need none of them.
"""
JOINERS = "\u200c\u200d"
"""What Persian, Indic scripts and emoji need of the invisible characters."""
SAME_WORD = re.compile(r"\b(\w+)(\W+\1\b){2,}", re.IGNORECASE)
"""A word three times in a row."""
SAME_LETTERS = re.compile(r"(.{1,8}?)\1{5,}")
"""The same few letters six times in a row."""
LEAST_LETTERS = 3
"""Of an instruction: "去背景" is one."""


def clean(text: str) -> str:
    """The instruction on one line with single spaces, in composed form (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def refusal(text: str) -> str | None:
    """Why a text can't be an instruction, whoever wrote it; None when it can.

    What it asks for is not judged: markup, braces and orders to a judge are plain text to every reader of it.
    """
    if not text.strip():
        return "the instruction is empty"
    if len(text) > MAX_LETTERS:
        return f"the instruction has {len(text):,} characters, more than {MAX_LETTERS:,}"
    if found := UNSEEN.search(text):
        return f"the instruction holds the invisible character U+{ord(found[0]):04X}"
    if not any(letter.isalnum() for letter in text):
        return "the instruction has no letter"
    return None


def nonsense(text: str, most: int) -> str | None:
    """Why a cleaned text that a model wrote is no instruction, of at most `most` characters; None when it may be one.

    Beyond `refusal` it looks for what models write when they are lost: characters that nobody sees or that are none,
    next to nothing, or the same over and over.
    """
    reason = refusal(text)
    if reason is not None:
        return reason
    if len(text) > most:
        return f"the instruction has {len(text):,} characters, more than {most:,}"
    for letter in text:
        # Cf: formatting, Co, Cn: characters of nobody.
        if unicodedata.category(letter) in ("Cf", "Co", "Cn") and letter not in JOINERS:
            return f"the instruction holds the invisible or unassigned character U+{ord(letter):04X}"
    if sum(letter.isalpha() for letter in text) < LEAST_LETTERS:
        return f"the instruction has fewer than {LEAST_LETTERS} letters"
    if SAME_WORD.search(text) or SAME_LETTERS.search(text):
        return "the instruction says the same over and over"
    return None
