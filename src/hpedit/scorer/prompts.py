"""The scoring prompts of HP-Scorer, one a task; the same words go to every judge, from the miniature to Qwen3-VL-32B.

The rubric is the paper's (arXiv 2604.19406): 0 = does not follow, 3 = follows but poor, 5 = follows fully, realistic.
The fixed part comes first, so that a server can share it between edits; then instruction, source and edit; the answer
is one digit.
"""

from __future__ import annotations

from hpedit.tasks import TASK_BY_ID

CHOICES = ("0", "1", "2", "3", "4", "5")
"""The answers whose probabilities make the score: their expectation is the judge's raw score."""

RUBRIC = (
    "Rate an edited picture from 0 to 5. 0: the instruction is not followed. "
    "3: it is followed but the quality is poor. 5: it is followed fully and looks realistic. "
    "Task: {name}. In a good edit {must_change}; {must_stay}.\n"
)
"""The fixed part of every prompt; a calibration holds for these very words alone (see `prompts_fingerprint`)."""

IMAGE = "\x00"
"""Stands for one picture in a prompt's text."""


def rubric(task: str) -> str:
    """The fixed part of a task's prompt."""
    described = TASK_BY_ID[task]
    return RUBRIC.format(name=described.name.lower(), must_change=described.must_change, must_stay=described.must_stay)


def scoring_prompt(task: str, instruction: str) -> list[str]:
    """The prompt's parts in order; a part equal to IMAGE is a picture: the source first, then the edit.

    The instruction is the user's text and is passed on as it is: it is never formatted a second time.
    """
    return [rubric(task) + "Instruction: " + instruction + "\nSource:", IMAGE, "\nEdit:", IMAGE, "\nScore:"]
