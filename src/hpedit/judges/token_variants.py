"""Token variants of an answer choice: capitalisation and leading space.

A judge that answers "Yes" or " 4" has answered "yes" or "4": the probabilities of all variants count towards the
choice, in process and over HTTP alike.
"""

from __future__ import annotations

VERSION = "surfaces-1"
"""Part of every judge's fingerprint; changes with what `token_variants` gives."""


def token_variants(choice: str) -> tuple[str, ...]:
    """Spellings of a choice, without repeats: as it is, capitalised, upper case, each with and without a space.

    >>> token_variants("4")
    ('4', ' 4')
    """
    written = dict.fromkeys((choice, choice.capitalize(), choice.upper()))
    return tuple(space + word for word in written for space in ("", " "))


def plain_words(text: str) -> str:
    """Escape the special tokens of a chat format (<|im_end|>, <|image_pad|>) in a user's text.

    Otherwise an instruction could end the turn, or add image placeholders.
    """
    return text.replace("<|", "< |")
