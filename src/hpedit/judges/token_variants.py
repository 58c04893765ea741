"""How a choice may be written as one token.

A judge that answers "Yes" or " 4" has answered "yes" or "4": the masses of all these tokens count towards the choice.
In process and over HTTP the same spellings count, so that both read the same probabilities.
"""

from __future__ import annotations

VERSION = "surfaces-1"
"""Part of every judge's fingerprint; changes with what `token_variants` gives."""


def token_variants(choice: str) -> tuple[str, ...]:
    """The spellings of a choice, without repeats: as it is, capitalised, in capitals, each with and without a space.

    >>> token_variants("4")
    ('4', ' 4')
    """
    written = dict.fromkeys((choice, choice.capitalize(), choice.upper()))
    return tuple(space + word for word in written for space in ("", " "))


def plain_words(text: str) -> str:
    """A text in which a chat format's own marks (<|im_end|>, <|image_pad|>) are words.

    A user's instruction goes into the prompt; without this it could end the turn, or add places of pictures.
    """
    return text.replace("<|", "< |")
