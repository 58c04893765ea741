"""The 80 object categories of COCO (Lin et al. 2014, arXiv 1405.0312), and the English grammar of object names."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_DATA = yaml.safe_load(Path(__file__).with_name("objects.yaml").read_text("utf-8"))
_GROUPS: dict[str, list[str]] = _DATA["groups"]

COCO: tuple[str, ...] = tuple(name for names in _GROUPS.values() for name in names)
"""All 80 category names, in COCO's order."""
GROUP_OF: dict[str, str] = {name: group for group, names in _GROUPS.items() for name in names}
"""COCO's supercategory of each category: objects of one group can replace each other."""
SPOKEN: dict[str, str] = _DATA["spoken"]
USUAL_COLORS: dict[str, frozenset[str]] = {name: frozenset(colors) for name, colors in _DATA["usual_colors"].items()}
PAIRS, UNCOUNTED = frozenset(_DATA["pairs"]), frozenset(_DATA["uncounted"])
SOUNDS_LIKE_A_CONSONANT = re.compile(r"(uni(?!n)|use|user|euro|one\b|once\b|ufo\b|u-)")
SOUNDS_LIKE_A_VOWEL = re.compile(r"([aeiou]|hour|honest|heir)")


def spoken(name: str) -> str:
    """Name a COCO category as an instruction does.

    >>> spoken("mouse")
    'computer mouse'
    """
    return SPOKEN.get(name, name)


def indefinite(name: str) -> str:
    """Put the indefinite article before an object name.

    >>> [indefinite(name) for name in ("umbrella", "unicorn", "skis", "broccoli", "an old car")]
    ['an umbrella', 'a unicorn', 'a pair of skis', 'some broccoli', 'an old car']
    """
    if re.match(r"(an?|some|two|three|several|the) ", name.lower()):
        return name
    last = name.lower().rpartition(" ")[2]
    if last in PAIRS:
        return f"a pair of {name}"
    if last in UNCOUNTED:
        return f"some {name}"
    start = name.lower()
    vowel = SOUNDS_LIKE_A_VOWEL.match(start) and not SOUNDS_LIKE_A_CONSONANT.match(start)
    return f"{'an' if vowel else 'a'} {name}"
