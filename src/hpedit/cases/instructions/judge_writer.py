"""Instructions written by a VLM that sees the photograph.

    writer = JudgeWriter(judge, recipe.instructions, recipe.seed, COCO)
    written, = writer.write([photo], ["dog"])

The judge answers in JSON of a fixed form. What it writes is checked by rules (empty, too long, another language's
script, the same word over and over, the same wording twice); what fails them is asked for again with another seed,
twice at most. What passes is then held against the photograph by yes-or-no questions (`feasibility`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from hpedit.cases.instructions.feasibility import SURE, Request, infeasible
from hpedit.cases.instructions.languages import wrong_script
from hpedit.cases.instructions.schema import (
    ABOUT,
    DOABLE,
    MAX_INSTRUCTION,
    SUBJECT,
    TEMPLATE,
    THERE,
    answer_schema,
    category_of,
    read_answer,
    shown,
    writing_question,
)
from hpedit.cases.instructions.written import Written
from hpedit.cases.photos import Draft, Photo
from hpedit.cases.recipe import InstructionsSection
from hpedit.judges.writing import WritingJudge, WritingPrompt
from hpedit.seeds import hash_choice, hash_number, hash_shuffle
from hpedit.store.text_checks import clean, nonsense, refusal

ARTICLE = re.compile(r"^(an?|the|some) ", re.IGNORECASE)
ATTEMPTS = 3
"""Times that one request is asked for."""
TEMPERATURE = 0.7
"""From the second attempt on; the first takes the likeliest words."""
TOKENS = 160
"""At most, of the answer's frame and of each wording; a sentence of Hindi takes some 150."""


def words_fingerprint() -> str:
    """SHA-256 (hex) of prompts and rules: with others, another version of the program writes other instructions."""
    words = [ABOUT, TEMPLATE, THERE, SUBJECT, DOABLE, SURE, MAX_INSTRUCTION, ATTEMPTS, TEMPERATURE, TOKENS]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class _Order:
    """One task of one photograph, on its way."""

    photo: Photo
    image: Image.Image
    category: str
    task: str
    language: str
    thing: str = ""
    texts: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    open: bool = True
    """Whether another attempt may still do better."""


class JudgeWriter:
    """Lets a judge write.

    Args:
        judge: Writes and answers.
        section: Tasks, counts, languages, and whether feasibility is checked.
        seed: Of the build.
        categories: What the objects that it names are counted as.
    """

    def __init__(self, judge: WritingJudge, section: InstructionsSection, seed: int, categories: Sequence[str]) -> None:
        self.judge = judge
        self.section = section
        self.seed = seed
        self.categories = tuple(categories)

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[Written]:
        """See `Writer`.

        Raises:
            HPEditError: no judge answers any more, or too much of what it says can't be read.
        """
        orders = [order for pair in zip(photos, categories, strict=True) for order in self._orders(*pair)]
        for attempt in range(ATTEMPTS):
            waiting = [order for order in orders if order.open]
            replies = self.judge.write([self._prompt(order, attempt) for order in waiting]) if waiting else []
            for order, reply in zip(waiting, replies, strict=True):
                if reply.text is not None:
                    self._read(order, reply.text)
                else:
                    order.rejected.append(("", str(reply.reason)))
                    order.open = reply.again
        if self.section.feasibility:
            self._check(orders)
        found: dict[str, list[_Order]] = {}
        for order in orders:
            found.setdefault(order.photo.id, []).append(order)
        return [self._written(found.get(photo.id, [])) for photo in photos]

    def _orders(self, photo: Photo, category: str) -> list[_Order]:
        """What is asked for one photograph."""
        tasks = hash_shuffle(self.section.tasks, self.seed, "tasks", photo.id)[: self.section.per_photo]
        image = shown(photo.image)
        languages = self.section.languages
        return [
            _Order(photo, image, category, task, hash_choice(languages, self.seed, task, photo.id, "language"))
            for task in tasks
        ]

    def _prompt(self, order: _Order, attempt: int) -> WritingPrompt:
        wordings = self.section.wordings
        question = writing_question(order.image, order.task, order.category, order.language, wordings)
        seed = hash_number(self.seed, order.task, order.photo.id, attempt)
        temperature = TEMPERATURE if attempt else 0.0
        return WritingPrompt(question, answer_schema(wordings), TOKENS * (1 + wordings), temperature, seed)

    def _read(self, order: _Order, text: str) -> None:
        """Take what is usable of an answer."""
        answer = read_answer(text, self.section.wordings)
        if isinstance(answer, str):
            order.rejected.append(("", answer))
            return
        if not answer["possible"]:
            order.rejected.append(("", f"the judge says that this photograph does not suit the task {order.task}"))
            order.open = False
            return
        thing = ARTICLE.sub("", clean(answer["object"]))
        usable: list[str] = []
        for text in map(clean, answer["instructions"]):
            reason = nonsense(text, MAX_INSTRUCTION) or wrong_script(text, order.language)
            if reason is None and text.casefold() in (other.casefold() for other in usable):
                reason = "it is worded as another one is"
            if reason is None and refusal(thing):
                reason = f"the object that it is about is not named but {thing!r}"
            if reason is None:
                usable.append(text)
            else:
                order.rejected.append((text, reason))
        if not answer["instructions"]:
            order.rejected.append(("", "the judge wrote no instruction"))
        if usable:
            order.thing, order.texts, order.open = thing, usable, False

    def _check(self, orders: Sequence[_Order]) -> None:
        """Drop what can't be done to the photograph."""
        places = [(order, text) for order in orders for text in order.texts]
        requests = [Request(order.image, order.task, order.thing, text) for order, text in places]
        for (order, text), reason in zip(places, infeasible(self.judge, requests) if requests else (), strict=True):
            if reason:
                order.texts.remove(text)
                order.rejected.append((text, reason))

    def _written(self, orders: Sequence[_Order]) -> Written:
        drafts = [draft for order in orders for draft in self._drafts(order)]
        return Written(tuple(drafts), tuple(pair for order in orders for pair in order.rejected))

    def _drafts(self, order: _Order) -> list[Draft]:
        whole = order.task in ("background", "bokeh", "relighting", "style")
        category = category_of(order.thing, self.categories) or (order.category if whole else "")
        by = f"judge:{self.judge.fingerprint}"
        return [
            Draft(order.task, text, category, wording=place, language=order.language, by=by)
            for place, text in enumerate(order.texts)
        ]
