"""The library of reasoning questions, seven to nine a task, from which a calibration chooses those that help.

The paper (arXiv 2604.19406) adds questions by hand until the scores agree with people; here they are asked once and
chosen by cross-validation (see `calibration`). A yes/no question gives the probability of its good answer; the question
of quality gives a digit, and is there twice, since showing the source cost GPT-4V half of its correlation on quality
(VIEScore, arXiv 2312.14867): with the source and without, of which a calibration keeps the better at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hpedit.judges.protocol import Answer

PREFIX = "q:"
"""Begins the name of a feature that is an answer to a reasoning question."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """One question about an edit.

    Args:
        id: Name within its task; `hpedit scorer fit` lists the chosen ones by it.
        text: The question as the judge reads it.
        good: The answer that speaks for the edit; "degree" asks for a digit, 5 being best.
        shows: Which pictures the judge sees.
    """

    id: str
    text: str
    good: Literal["yes", "no", "degree"] = "yes"
    shows: Literal["both", "edit"] = "both"

    @property
    def feature(self) -> str:
        """Its column's name."""
        return PREFIX + self.id

    def value(self, answer: Answer) -> float:
        """The answer in [0, 1], 1 being best for the edit; NaN when it can't be read."""
        if answer.expected is None:
            return math.nan
        if self.good == "degree":
            return answer.expected / (len(answer.probabilities or ()) - 1)
        return answer.expected if self.good == "yes" else 1 - answer.expected


FOLLOWED = Reasoning("followed", "Is everything done that the instruction asks for?")
KEPT = Reasoning("kept", "Is everything else exactly as in the source?")
SEAMS = Reasoning("seams", "Are there seams, halos or other flaws in the edit?", "no")
SHARP = Reasoning("sharp", "Is the edit as sharp and clean as the source?")
CAST = Reasoning("cast", "Did the light or the colors change although nobody asked for it?", "no")
QUALITY = Reasoning("quality", "How real and free of flaws does the edit look?", "degree")
QUALITY_ALONE = Reasoning("quality_alone", "How real and free of flaws does the edit look?", "degree", "edit")
EXCLUSIVE = (frozenset({QUALITY.feature, QUALITY_ALONE.feature}),)
"""Features of which a calibration keeps at most one a task."""

_LOCAL = (FOLLOWED, KEPT, SEAMS, SHARP, CAST, QUALITY, QUALITY_ALONE)
_GLOBAL = (FOLLOWED, SEAMS, QUALITY, QUALITY_ALONE)

LIBRARY: dict[str, tuple[Reasoning, ...]] = {
    "addition": (
        *_LOCAL,
        Reasoning("present", "Is the new object there, whole and well formed?"),
        Reasoning("more", "Is there more in the edit than was asked for?", "no"),
    ),
    "removal": (
        *_LOCAL,
        Reasoning("gone", "Is the named object entirely gone?"),
        Reasoning("filled", "Does the place where it was look like what is around it?"),
    ),
    "swap": (
        *_LOCAL,
        Reasoning("gone", "Is the old object entirely gone?"),
        Reasoning("present", "Is the new object there, whole and well formed?"),
    ),
    "background": (
        *_LOCAL,
        Reasoning("whole", "Is the whole background replaced, up to the edges of the objects?"),
        Reasoning("left", "Is anything of the old background left?", "no"),
    ),
    "color": (
        *_LOCAL,
        Reasoning("whole", "Has all of the named object the named color?"),
        Reasoning("shape", "Did the object keep its shape and its shading?"),
    ),
    "bokeh": (
        *_LOCAL,
        Reasoning("whole", "Is the whole background softly blurred?"),
        Reasoning("objects", "Are all objects in front as sharp as in the source?"),
    ),
    "relighting": (
        *_GLOBAL,
        Reasoning("look", "Has the whole picture the named light?"),
        Reasoning("overdone", "Is the change of the light too strong?", "no"),
        Reasoning("details", "Are all shapes and details as in the source?"),
        Reasoning("sharp", "Is the edit as sharp and clean as the source?"),
    ),
    "style": (
        *_GLOBAL,
        Reasoning("look", "Has the whole picture the named style?"),
        Reasoning("overdone", "Is the style too strong?", "no"),
        Reasoning("details", "Can all shapes be recognised?"),
    ),
}
"""The questions of each task, in the order in which they are asked."""


def find(task: str, feature: str) -> Reasoning:
    """The question behind a feature's name; KeyError if the task has none of this name."""
    return next(question for question in LIBRARY[task] if question.feature == feature)
