"""What no instruction may be, whoever wrote it."""

from __future__ import annotations

import re
import unicodedata

MAX_LETTERS = 2000
"""Characters of one instruction: editors cut prompts at some 500 to 1000 tokens."""
KEEPS = "\u200c\u200d"
"""Joiners that Persian, Indic scripts and emoji need."""


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
    """Why a cleaned text can't be an instruction; None when it can."""
    if not text:
        return "the instruction is empty"
    if len(text) > MAX_LETTERS:
        return f"the instruction has {len(text):,} characters, more than {MAX_LETTERS:,}"
    for letter in text:
        # Cc: control, Cf: invisible marks that turn the reading direction, Co/Cs/Cn: no character at all.
        if unicodedata.category(letter) in ("Cc", "Cf", "Co", "Cs", "Cn") and letter not in KEEPS:
            return f"the instruction holds the invisible or unassigned character U+{ord(letter):04X}"
    if not any(letter.isalnum() for letter in text):
        return "the instruction has no letter"
    return None


def nonsense(text: str, most: int) -> str | None:
    """Why a cleaned text that a model wrote is no instruction, of at most `most` characters; None when it may be one.

    Beyond `refusal` it looks for what models write when they are lost: next to nothing, or the same over and over.
    """
    reason = refusal(text)
    if reason is not None:
        return reason
    if len(text) > most:
        return f"the instruction has {len(text):,} characters, more than {most:,}"
    if sum(letter.isalpha() for letter in text) < LEAST_LETTERS:
        return f"the instruction has fewer than {LEAST_LETTERS} letters"
    if SAME_WORD.search(text) or SAME_LETTERS.search(text):
        return "the instruction says the same over and over"
    return None
