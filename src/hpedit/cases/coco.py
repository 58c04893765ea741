"""The 80 object categories of COCO (Lin et al. 2014, arXiv 1405.0312), and how English speaks of a named object."""

from __future__ import annotations

import re

GROUPS: dict[str, tuple[str, ...]] = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": (
        "frisbee",
        "skis",
        "snowboard",
        "sports ball",
        "kite",
        "baseball bat",
        "baseball glove",
        "skateboard",
        "surfboard",
        "tennis racket",
    ),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": (
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
    ),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
}
"""COCO's supercategories with their categories, in its order: things of one group stand in for each other."""

COCO: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
"""All 80 names, in COCO's order."""

GROUP_OF: dict[str, str] = {name: group for group, names in GROUPS.items() for name in names}

SPOKEN = {
    "tv": "television",
    "mouse": "computer mouse",
    "remote": "remote control",
    "orange": "orange fruit",
    "cell phone": "mobile phone",
    "hair drier": "hair dryer",
    "tie": "necktie",
}
"""Names that would be misread, and what an instruction says instead."""

USUAL_COLORS: dict[str, frozenset[str]] = {
    "banana": frozenset({"yellow", "green"}),
    "apple": frozenset({"red", "green"}),
    "orange": frozenset({"orange"}),
    "carrot": frozenset({"orange"}),
    "broccoli": frozenset({"green"}),
    "potted plant": frozenset({"green"}),
    "stop sign": frozenset({"red"}),
    "fire hydrant": frozenset({"red", "yellow"}),
    "elephant": frozenset({"gray"}),
    "zebra": frozenset({"black", "white"}),
    "sheep": frozenset({"white"}),
    "toilet": frozenset({"white"}),
    "sink": frozenset({"white"}),
    "teddy bear": frozenset({"brown"}),
}
"""Colours that a thing has anyway: asking for them would ask for nothing."""

PAIRS = frozenset({"scissors", "skis", "glasses", "sunglasses", "trousers", "pants", "jeans", "shorts", "pliers"})
UNCOUNTED = frozenset({"broccoli", "bread", "rice", "grass", "fruit", "water", "snow", "furniture", "luggage"})
IRREGULAR = {"person": "people", "knife": "knives", "mouse": "mice", "sheep": "sheep", "child": "children"}
SOUNDS_LIKE_A_CONSONANT = re.compile(r"(uni(?!n)|use|user|euro|one\b|once\b|ufo\b|u-)")
SOUNDS_LIKE_A_VOWEL = re.compile(r"([aeiou]|hour|honest|heir)")


def spoken(name: str) -> str:
    """What an instruction calls a category.

    >>> spoken("mouse")
    'computer mouse'
    """
    return SPOKEN.get(name, name)


def indefinite(name: str) -> str:
    """A name with its indefinite article.

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


def plural(name: str) -> str:
    """A name in the plural.

    >>> [plural(name) for name in ("bus", "person", "teddy bear", "couch", "skis", "broccoli")]
    ['buses', 'people', 'teddy bears', 'couches', 'skis', 'broccoli']
    """
    before, space, last = name.rpartition(" ")
    if last in PAIRS or last in UNCOUNTED:
        return name
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return before + space + last
