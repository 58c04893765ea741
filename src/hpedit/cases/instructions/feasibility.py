"""Whether an instruction can be carried out on a photograph, asked of a judge in yes-or-no questions.

Is the object there (for an addition: is it not there yet), and is the edit clear and possible? A question that the
judge can't be read on is no yes: the instruction is rejected, and its reason says that it could not be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from hpedit.cases.instructions.schema import check_questions
from hpedit.judges.protocol import Answer, Judge

SURE = 0.5
"""Least probability of the right answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """An instruction to be checked."""

    image: Image.Image
    """RGB."""
    task: str
    thing: str
    """The object that it is about, as the writer named it."""
    instruction: str


def infeasible(judge: Judge, requests: Sequence[Request]) -> list[str | None]:
    """For each request the reason why it can't be done; None when it can.

    Raises:
        HPEditError: see `Judge.ask`.
    """
    asked = [check_questions(one.image, one.task, one.thing, one.instruction) for one in requests]
    answers = iter(judge.ask([question for questions in asked for question, _, _ in questions]))
    # Every question takes its answer, whether or not one before it has settled the matter.
    reasons = [[_reason(next(answers), right, reason) for _, right, reason in questions] for questions in asked]
    return [next((reason for reason in found if reason), None) for found in reasons]


def _reason(answer: Answer, right: str, reason: str) -> str | None:
    """Why an answer speaks against a request."""
    yes = answer.expected
    if yes is None:
        return f"it can't be checked: {answer.reason}"
    return None if (yes if right == "yes" else 1 - yes) >= SURE else reason
