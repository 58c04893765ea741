"""Write instructions with a VLM that sees the photograph.

    writer = JudgeWriter(judge, recipe.instructions, recipe.seed, COCO)
    written, = writer.write([photo], ["dog"])

The judge answers in JSON. Rules reject empty, too long or repetitive texts, another language's script and repeated
wordings; a request without a usable text is retried with another seed, at most twice. What passes is checked against
the photograph by yes-or-no questions (feasibility).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from PIL import Image

from hpedit.cases.instructions.instruction_prompt import (
    MAX_INSTRUCTION,
    PROMPTS,
    answer_schema,
    category_of,
    check_questions,
    image_for_judge,
    read_instruction_answer,
    writing_question,
)
from hpedit.cases.instructions.languages import wrong_script
from hpedit.cases.recipe import InstructionsSection
from hpedit.cases.source_items import InstructionCandidate, Photo, WrittenInstructions
from hpedit.judges.protocol import Judge, Question
from hpedit.judges.writing import WritingJudge, WritingPrompt
from hpedit.seeds import hash_choice, hash_number, hash_shuffle
from hpedit.store.text_checks import clean, nonsense, refusal

ARTICLE = re.compile(r"^(an?|the|some) ", re.IGNORECASE)
ATTEMPTS = 3
"""Attempts at one request."""
TEMPERATURE = 0.7
"""From the second attempt on; the first is greedy."""
TOKENS = 160
"""Maximum for the answer's frame and for each wording; a sentence of Hindi takes some 150."""
SURE = 0.5
"""Minimum probability of the right answer to a feasibility question."""


def prompt_fingerprint() -> str:
    """SHA-256 (hex) of prompts and rules: a version with others writes other instructions, so stages go stale."""
    words = [*PROMPTS, SURE, MAX_INSTRUCTION, ATTEMPTS, TEMPERATURE, TOKENS]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class _Order:
    """One task of one photograph in progress."""

    photo: Photo
    image: Image.Image
    category: str
    task: str
    language: str
    thing: str = ""
    texts: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    open: bool = True
    """Whether another attempt may succeed."""


class JudgeWriter:
    """Writes instructions with a judge (VLM) and checks their feasibility.

    Args:
        judge: Writes and answers.
        section: Tasks, counts, languages, and whether feasibility is checked.
        seed: Of the build.
        categories: Categories that the objects it names are mapped to.
    """

    def __init__(self, judge: WritingJudge, section: InstructionsSection, seed: int, categories: Sequence[str]) -> None:
        self.judge = judge
        self.section = section
        self.seed = seed
        self.categories = tuple(categories)

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[WrittenInstructions]:
        """See `Writer`.

        Raises:
            HPEditError: no judge answers any more, or too many of its answers are unreadable.
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
        """The requests for one photograph."""
        tasks = hash_shuffle(self.section.tasks, self.seed, "tasks", photo.id)[: self.section.per_photo]
        image = image_for_judge(photo.image)
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
        """Take the usable instructions of an answer."""
        answer = read_instruction_answer(text, self.section.wordings)
        if isinstance(answer, str):
            order.rejected.append(("", answer))
            return
        if not answer["possible"]:
            order.rejected.append(("", f"the judge says that the photograph does not suit the task {order.task}"))
            order.open = False
            return
        thing = ARTICLE.sub("", clean(answer["object"]))
        usable: list[str] = []
        for text in map(clean, answer["instructions"]):
            reason = nonsense(text, MAX_INSTRUCTION) or wrong_script(text, order.language)
            if reason is None and text.casefold() in (other.casefold() for other in usable):
                reason = "it repeats another wording"
            if reason is None and refusal(thing):
                reason = f"{thing!r} is not a usable object name"
            if reason is None:
                usable.append(text)
            else:
                order.rejected.append((text, reason))
        if not answer["instructions"]:
            order.rejected.append(("", "the judge wrote no instruction"))
        if usable:
            order.thing, order.texts, order.open = thing, usable, False

    def _check(self, orders: Sequence[_Order]) -> None:
        """Reject instructions that can't be carried out on the photograph."""
        places = [(order, text) for order in orders for text in order.texts]
        asked = [check_questions(order.image, order.task, order.thing, text) for order, text in places]
        for (order, text), reason in zip(places, feasibility_reasons(self.judge, asked), strict=True):
            if reason:
                order.texts.remove(text)
                order.rejected.append((text, reason))

    def _written(self, orders: Sequence[_Order]) -> WrittenInstructions:
        candidates = [candidate for order in orders for candidate in self._instructions(order)]
        return WrittenInstructions(tuple(candidates), tuple(pair for order in orders for pair in order.rejected))

    def _instructions(self, order: _Order) -> list[InstructionCandidate]:
        whole = order.task in ("background", "bokeh", "relighting", "style")
        category = category_of(order.thing, self.categories) or (order.category if whole else "")
        by = f"judge:{self.judge.fingerprint}"
        return [
            InstructionCandidate(order.task, text, category, wording=place, language=order.language, by=by)
            for place, text in enumerate(order.texts)
        ]


def feasibility_reasons(judge: Judge, asked: Sequence[Sequence[tuple[Question, str, str]]]) -> list[str | None]:
    """For each instruction's `check_questions` the reason why it is infeasible, None if it is feasible.

    A question without a readable answer counts against the instruction. HPEditError: see `Judge.ask`.
    """
    questions = [question for own in asked for question, _, _ in own]
    answers = iter(judge.ask(questions) if questions else ())
    found: list[str | None] = []
    for own in asked:
        reasons: list[str] = []
        # Every question takes its answer, whether or not one before it has decided.
        for (_, right, reason), answer in zip(own, islice(answers, len(own)), strict=True):
            yes = answer.expected
            if yes is None:
                reasons.append(f"it can't be checked: {answer.reason}")
            elif (yes if right == "yes" else 1 - yes) < SURE:
                reasons.append(reason)
        found.append(next(iter(reasons), None))
    return found
