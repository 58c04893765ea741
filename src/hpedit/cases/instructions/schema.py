"""What a VLM is asked to write about a photograph, and the form that its answer must have.

The answer is JSON: the object that the request is about, whether the task can be done to this photograph, and the
request in so many wordings. The object comes first, so that the rest is written with it in view.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from hpedit.cases.coco import indefinite, spoken
from hpedit.cases.instructions.languages import LANGUAGES
from hpedit.judges.protocol import IMAGE, YES_NO, Question
from hpedit.tasks import TASK_BY_ID

MAX_OBJECT = 60
"""Characters of an object's name."""
MAX_INSTRUCTION = 240
"""Characters of one instruction: some three sentences."""
MOST_PIXELS = 1280
"""Longest side of a photograph as the VLM sees it; more costs time and tells nothing that a request could be about."""

ABOUT: dict[str, str] = {
    "addition": "Choose an object that is not in the picture and would look natural in it, and say where it goes.",
    "removal": "Choose a clearly visible object whose removal leaves a scene that still makes sense.",
    "swap": "Choose a clearly visible object, and another kind of object of like size to put in its place.",
    "background": "Choose the main subject as the object, and a quite different background for it.",
    "color": "Choose a clearly visible object with one main color, and another color for it.",
    "bokeh": "Choose the main subject as the object; it stays sharp while the background is blurred.",
    "relighting": "Choose a quite different light: kind, direction, color or time of day. Object: the main subject.",
    "style": "Choose an art style for the whole picture. Object: the main subject.",
}
"""What to choose for each task."""

TEMPLATE = """You write instructions for a picture editor. Look at the picture.
Task: {name}. {definition} {about}
{hint}Answer in JSON:
"object": the object that the edit is about, in English, at most four words, without an article; as specific as needed \
to tell it from others in the picture.
"possible": true if this picture suits the task, else false.
"instructions": {count} in {language}{wordings}, of one sentence each, as a person would type it. Each says all that \
is needed and speaks of nothing that is not in the picture, but for what is to be new. Leave the list empty if the \
task is not possible."""

THERE = "Is there {object} clearly visible in this picture? Answer yes or no:"
SUBJECT = "Does this picture show {object} that stands out from a background? Answer yes or no:"
DOABLE = (
    'Someone asks for this edit of the picture: "{instruction}" '
    "Is it clear what to do, and can it be done to this picture? Answer yes or no:"
)


@cache
def answer_model(wordings: int) -> type[BaseModel]:
    """The answer's form for so many wordings."""
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
    """The JSON schema of `answer_model`, as text."""
    return json.dumps(answer_model(wordings).model_json_schema())


def read_answer(text: str, wordings: int) -> dict[str, Any] | str:
    """The answer in a text: object, possible, instructions; or what is wrong with it."""
    try:
        found: dict[str, Any] = answer_model(wordings).model_validate_json(text).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"the judge's answer is not of the form asked for: {place + ': ' if place else ''}{first['msg']}"
    return found


def writing_question(image: Image.Image, task: str, category: str, language: str, wordings: int) -> Question:
    """What the VLM is asked to write, with the picture."""
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
    """Yes-or-no questions that an instruction must pass: (question, the right answer, reason when it is the other)."""
    named = indefinite(thing)
    asked: list[tuple[str, str, str]] = []
    if task in ("removal", "swap", "color"):
        asked.append((THERE.format(object=named), "yes", f"there is no {thing} to be seen in the picture"))
    elif task == "addition":
        asked.append((THERE.format(object=named), "no", f"{named} is in the picture already"))
    elif task in ("background", "bokeh"):
        asked.append((SUBJECT.format(object=named), "yes", f"no {thing} stands out from a background"))
    asked.append((DOABLE.format(instruction=instruction), "yes", "the edit is unclear, or can't be done here"))
    return [(Question((IMAGE,), (image,), f"\n{text}", YES_NO), right, reason) for text, right, reason in asked]


def shown(image: Image.Image) -> Image.Image:
    """The photograph as the VLM sees it: RGB, at most MOST_PIXELS a side."""
    if max(image.size) <= MOST_PIXELS:
        return image
    small = image.copy()
    small.thumbnail((MOST_PIXELS, MOST_PIXELS))
    return small


def category_of(thing: str, known: Sequence[str]) -> str:
    """The category that an object belongs to by its name: the longest that is a part of it; empty where none is.

    >>> category_of("small brown dog", ["dog", "hot dog"])
    'dog'
    """
    words = f" {thing.lower()} "
    fitting = [name for name in known if f" {name} " in words or f" {spoken(name)} " in words]
    return max(fitting, key=len, default="")
