"""The scoring prompts of HP-Scorer, one a task; the same words go to every judge, from the miniature to Qwen3-VL-32B.

The rubric is the paper's (arXiv 2604.19406): 0 = does not follow, 3 = follows but poor, 5 = follows fully, realistic.
The part that is the same for all edits of a task comes first, so that a server can share it; then instruction, source
and edit; what is asked comes last, so that all questions about one edit share what stands before it.
"""

from __future__ import annotations

from typing import Literal

from PIL import Image

from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO, Question
from hpedit.records import Case
from hpedit.scorer.questions import Reasoning
from hpedit.tasks import TASK_BY_ID

Order = Literal["source first", "edit first"]

RUBRIC = (
    "Rate an edited picture from 0 to 5. 0: the instruction is not followed. "
    "3: it is followed but the quality is poor. 5: it is followed fully and looks realistic. "
    "Task: {name}. In a good edit {must_change}; {must_stay}.\n"
)
"""The fixed part of every prompt; a calibration holds for these very words alone (see `prompts_fingerprint`)."""
SCORE = "\nScore, one digit from 0 to 5:"
YES_OR_NO = "\n{} Answer yes or no:"
DEGREE = "\n{} One digit from 0 to 5:"


def rubric(task: str) -> str:
    """The fixed part of a task's prompt."""
    described = TASK_BY_ID[task]
    return RUBRIC.format(name=described.name.lower(), must_change=described.must_change, must_stay=described.must_stay)


def stem(task: str, instruction: str, order: Order = "source first") -> tuple[str, ...]:
    """What stands before the question: rubric, instruction and the two pictures, each a part equal to IMAGE.

    The instruction is the user's text and is passed on as it is: it is never formatted a second time.
    """
    pictures = ("\nSource:", IMAGE, "\nEdit:", IMAGE)
    if order == "edit first":
        pictures = (*pictures[2:], *pictures[:2])
    return (rubric(task) + "Instruction: " + instruction, *pictures)


EDIT_ALONE = ("Look at this edited picture.\nEdit:", IMAGE)
"""The stem of a question that must not be answered by comparing."""


def score_question(case: Case, image: Image.Image, order: Order = "source first") -> Question:
    """The base prompt: how good this edit of this case is, 0 to 5."""
    return Question(stem(case.task, case.instruction, order), _pair(case, image, order), SCORE)


def reasoning_question(reasoning: Reasoning, case: Case, image: Image.Image) -> Question:
    """A question of the task's library about an edit."""
    tail = (YES_OR_NO if reasoning.good != "degree" else DEGREE).format(reasoning.text)
    choices = YES_NO if reasoning.good != "degree" else DIGITS
    if reasoning.shows == "edit":
        return Question(EDIT_ALONE, (image,), tail, choices)
    return Question(stem(case.task, case.instruction), _pair(case, image), tail, choices)


def _pair(case: Case, image: Image.Image, order: Order = "source first") -> tuple[Image.Image, ...]:
    return (case.source, image) if order == "source first" else (image, case.source)
