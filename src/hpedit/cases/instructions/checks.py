"""What no instruction may be, whoever wrote it."""

from __future__ import annotations

import unicodedata

MAX_LETTERS = 2000
"""Characters of one instruction: editors cut prompts at some 500 to 1000 tokens."""
KEEPS = "\u200c\u200d"
"""Joiners that Persian, Indic scripts and emoji need."""


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
