"""Scoring prompts and reasoning questions of HP-Scorer by task; every judge, miniature or 32B, reads the same words.

The rubric is the paper's (arXiv 2604.19406): 0 = does not follow, 3 = follows but poor, 5 = follows fully, realistic.
The part that is the same for all edits of a task comes first, so that a server can share it; then instruction, source
and edit; what is asked comes last, so that all questions about one edit share what stands before it.

Beside the base prompt stands a library of reasoning questions, seven to nine a task, from which a calibration chooses
those that help. The paper adds questions by hand until the scores agree with people; here they are asked once and
chosen by cross-validation. A yes/no question gives the probability of its good answer; the question of quality gives a
digit, and is there twice, with the source and without, of which a calibration keeps the better at most: showing the
source cost GPT-4V half of its correlation on quality (VIEScore, arXiv 2312.14867).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO, Answer, Question
from hpedit.records import Case
from hpedit.tasks import TASK_BY_ID

PREFIX = "q:"
"""Prefix of the feature names of reasoning questions."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """One question about an edit.

    Args:
        id: Name within its task; `hpedit scorer fit` lists the chosen ones by it.
        text: The question as the judge reads it.
        good: The favourable answer; "degree" asks for a digit, 5 being best.
        shows: The images that the judge sees.
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
        """The answer as a feature in [0, 1], 1 being best; NaN if unreadable."""
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
"""Features of which a calibration keeps at most one per task."""

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


def find_question(task: str, feature: str) -> Reasoning:
    """The reasoning question behind a feature's name; StopIteration if the task has none of this name."""
    return next(question for question in LIBRARY[task] if question.feature == feature)


Order = Literal["source first", "edit first"]

RUBRIC = (
    "Rate an edited picture from 0 to 5. 0: the instruction is not followed. "
    "3: it is followed but the quality is poor. 5: it is followed fully and looks realistic. "
    "Task: {name}. In a good edit {must_change}; {must_stay}.\n"
)
"""The fixed part of every prompt; a calibration is valid only for exactly this text (see `prompts_fingerprint`)."""
SCORE = "\nScore, one digit from 0 to 5:"
YES_OR_NO = "\n{} Answer yes or no:"
DEGREE = "\n{} One digit from 0 to 5:"


def rubric(task: str) -> str:
    """The fixed part of a task's prompt."""
    described = TASK_BY_ID[task]
    return RUBRIC.format(name=described.name.lower(), must_change=described.must_change, must_stay=described.must_stay)


def stem(task: str, instruction: str, order: Order = "source first") -> tuple[str, ...]:
    """The prompt up to the question: rubric, instruction and the two images, each a part equal to IMAGE.

    The instruction is the user's text: it is never used as a format string.
    """
    pictures = ("\nSource:", IMAGE, "\nEdit:", IMAGE)
    if order == "edit first":
        pictures = (*pictures[2:], *pictures[:2])
    return (rubric(task) + "Instruction: " + instruction, *pictures)


EDIT_ALONE = ("Look at this edited picture.\nEdit:", IMAGE)
"""The stem of a question about the edit alone, without the source to compare with."""


def score_question(case: Case, image: Image.Image, order: Order = "source first") -> Question:
    """The base scoring prompt: the quality of an edit of this case, 0 to 5."""
    return Question(stem(case.task, case.instruction, order), _pair(case, image, order), SCORE)


def reasoning_question(reasoning: Reasoning, case: Case, image: Image.Image) -> Question:
    """The prompt of a reasoning question about an edit."""
    tail = (YES_OR_NO if reasoning.good != "degree" else DEGREE).format(reasoning.text)
    choices = YES_NO if reasoning.good != "degree" else DIGITS
    if reasoning.shows == "edit":
        return Question(EDIT_ALONE, (image,), tail, choices)
    return Question(stem(case.task, case.instruction), _pair(case, image), tail, choices)


def _pair(case: Case, image: Image.Image, order: Order = "source first") -> tuple[Image.Image, ...]:
    return (case.source, image) if order == "source first" else (image, case.source)
