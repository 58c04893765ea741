"""The prompt with which a VLM writes instructions for a photograph, and the JSON schema of its answer.

The answer names the object, says whether the task suits the photograph, and gives the instruction in several wordings.
The object comes first, so that the rest is conditioned on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from hpedit.cases.coco import indefinite, spoken
from hpedit.cases.instructions.languages import LANGUAGES
from hpedit.judges.protocol import IMAGE, YES_NO, Question
from hpedit.tasks import TASK_BY_ID

MAX_OBJECT = 60
"""Characters of an object name."""
MAX_INSTRUCTION = 240
"""Characters of an instruction: some three sentences."""
MOST_PIXELS = 1280
"""Longest side of a photograph for the VLM; more costs time and shows nothing that an instruction could be about."""

_PROMPTS = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text("utf-8"))
ABOUT: dict[str, str] = _PROMPTS["about"]
TEMPLATE, THERE, SUBJECT, DOABLE = (str(_PROMPTS[name]) for name in ("template", "there", "subject", "doable"))
PROMPTS = [ABOUT, TEMPLATE, THERE, SUBJECT, DOABLE]


@cache
def answer_model(wordings: int) -> type[BaseModel]:
    """The pydantic model of an answer with at most so many wordings."""
    text = Annotated[str, Field(max_length=MAX_INSTRUCTION)]
    return create_model(
        "Answer",
        __config__=ConfigDict(extra="forbid", strict=True),
        object=(Annotated[str, Field(max_length=MAX_OBJECT)], ...),
        possible=(bool, ...),
        instructions=(Annotated[list[text], Field(max_length=wordings)], ...),
    )


@cache
def answer_schema(wordings: int) -> str:
    """The JSON schema of `answer_model` as text."""
    return json.dumps(answer_model(wordings).model_json_schema())


def read_instruction_answer(text: str, wordings: int) -> dict[str, Any] | str:
    """Parse the VLM's answer (object, possible, instructions); a text says what is wrong with it."""
    try:
        found: dict[str, Any] = answer_model(wordings).model_validate_json(text).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"the judge's answer does not match the schema: {place + ': ' if place else ''}{first['msg']}"
    return found


def writing_question(image: Image.Image, task: str, category: str, language: str, wordings: int) -> Question:
    """The question that asks a VLM to write instructions for a photograph."""
    described = TASK_BY_ID[task]
    count = "one instruction" if wordings == 1 else f"{wordings} instructions"
    text = TEMPLATE.format(
        name=described.name,
        definition=described.definition,
        about=ABOUT[task],
        hint=f"The picture probably shows {indefinite(spoken(category))}.\n" if category else "",
        count=count,
        language=LANGUAGES[language][0],
        wordings="" if wordings == 1 else ", which ask for exactly the same edit in different words",
    )
    return Question((IMAGE,), (image,), "\n" + text)


def check_questions(image: Image.Image, task: str, thing: str, instruction: str) -> list[tuple[Question, str, str]]:
    """Yes-or-no questions on an instruction's feasibility: (question, right answer, reason if the answer is wrong)."""
    named = indefinite(thing)
    asked = [(DOABLE.format(instruction=instruction), "yes", "the edit is unclear, or can't be done here")]
    if task in ("removal", "swap", "color"):
        asked.insert(0, (THERE.format(object=named), "yes", f"there is no {thing} in the picture"))
    elif task == "addition":
        asked.insert(0, (THERE.format(object=named), "no", f"{named} is in the picture already"))
    elif task in ("background", "bokeh"):
        asked.insert(0, (SUBJECT.format(object=named), "yes", f"no {thing} stands out from a background"))
    return [(Question((IMAGE,), (image,), f"\n{text}", YES_NO), right, reason) for text, right, reason in asked]


def image_for_judge(image: Image.Image) -> Image.Image:
    """Downscale a photograph for the VLM to at most MOST_PIXELS a side."""
    if max(image.size) <= MOST_PIXELS:
        return image
    small = image.copy()
    small.thumbnail((MOST_PIXELS, MOST_PIXELS))
    return small


def category_of(thing: str, known: Sequence[str]) -> str:
    """Match an object name to a category: the longest known one that is part of it, else "".

    >>> category_of("small brown dog", ["dog", "hot dog"])
    'dog'
    """
    words = f" {thing.lower()} "
    fitting = [name for name in known if f" {name} " in words or f" {spoken(name)} " in words]
    return max(fitting, key=len, default="")
