"""Validate edit instructions: length, invisible characters, repetition, nonsense from a language model."""

from __future__ import annotations

import re
import unicodedata

MAX_LETTERS = 2000
"""Maximum characters of an instruction: editors truncate prompts at some 500 to 1000 tokens."""
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2066-\u2069\u202a-\u202e\ud800-\udfff\ufffe\uffff]")
"""Control characters other than tab and line ends, bidirectional overrides, lone surrogates.

Right-to-left scripts, emoji and combining marks need none of them.
"""
JOINERS = "\u200c\u200d"
"""Invisible characters that Persian, Indic scripts and emoji need."""
SAME_WORD = re.compile(r"\b(\w+)(\W+\1\b){2,}", re.IGNORECASE)
"""A word three times in a row."""
SAME_LETTERS = re.compile(r"(.{1,8}?)\1{5,}")
"""The same few letters six times in a row."""
LEAST_LETTERS = 3
"""Minimum letters of an instruction: "去背景" is one."""


def clean(text: str) -> str:
    """Normalise an instruction: one line, single spaces, composed form (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def refusal(text: str) -> str | None:
    """Why a text is not a valid instruction, whoever wrote it; None if it is valid.

    Its content is not judged: markup, braces and prompt injections are plain text to every reader.
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
    """Why a cleaned text from a language model is not an instruction of at most `most` characters; None if it may be.

    Beyond `refusal`, it checks for what failing models write: invisible or unassigned characters, almost nothing, or
    endless repetition.
    """
    reason = refusal(text)
    if reason is not None:
        return reason
    if len(text) > most:
        return f"the instruction has {len(text):,} characters, more than {most:,}"
    for letter in text:
        # Cf: formatting; Co, Cn: private use and unassigned.
        if unicodedata.category(letter) in ("Cf", "Co", "Cn") and letter not in JOINERS:
            return f"the instruction holds the invisible or unassigned character U+{ord(letter):04X}"
    if sum(letter.isalpha() for letter in text) < LEAST_LETTERS:
        return f"the instruction has fewer than {LEAST_LETTERS} letters"
    if SAME_WORD.search(text) or SAME_LETTERS.search(text):
        return "the instruction says the same over and over"
    return None
