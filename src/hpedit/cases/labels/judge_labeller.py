"""Label photographs with a VLM: it names the category of the main object, and a second question verifies it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, cast

from PIL import Image
from pydantic import ConfigDict, ValidationError, create_model

from hpedit.cases.coco import indefinite, spoken
from hpedit.cases.instructions.instruction_prompt import THERE, image_for_judge
from hpedit.cases.labels.protocol import Label
from hpedit.judges.protocol import IMAGE, YES_NO, Question
from hpedit.judges.writing import WritingJudge, WritingPrompt

NOTHING = "none of these"
ASK = (
    "\nWhich of these is the main object in this picture: {names}? "
    'Answer in JSON, as {{"category": "{first}"}}; "{nothing}" where none of them is in it.'
)


class JudgeLabeller:
    """Labels photographs with a judge (VLM).

    Args:
        judge: Writes and answers.
        categories: To choose from, at least one.
        min_probability: Minimum probability that the category is in the photograph; below it there is none.
    """

    def __init__(self, judge: WritingJudge, categories: Sequence[str], min_probability: float) -> None:
        self.judge = judge
        self.categories = tuple(categories)
        self.min_probability = min_probability
        self._answer = create_model(
            "Answer",
            __config__=ConfigDict(extra="forbid", strict=True),
            category=(cast(Any, Literal[(*self.categories, NOTHING)]), ...),
        )
        self._schema = json.dumps(self._answer.model_json_schema())
        names = ", ".join(self.categories)
        self._ask = ASK.format(names=names, first=self.categories[0], nothing=NOTHING)

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:  # noqa: ARG002
        """See `Labeller`; an unreadable answer gives no category and probability NaN.

        Raises:
            HPEditError: no judge answers any more, or too many answers are unreadable.
        """
        pictures = [image_for_judge(image) for image in images]
        prompts = [WritingPrompt(Question((IMAGE,), (picture,), self._ask), self._schema) for picture in pictures]
        named = [self._read(reply.text) for reply in self.judge.write(prompts)]
        asked = [place for place, name in enumerate(named) if name not in (None, NOTHING)]
        texts = [f"\n{THERE.format(object=indefinite(spoken(str(named[k]))))}" for k in asked]
        answers = self.judge.ask(
            [Question((IMAGE,), (pictures[k],), text, YES_NO) for k, text in zip(asked, texts, strict=True)]
        )
        yes = {place: answer.expected for place, answer in zip(asked, answers, strict=True)}
        return [self._label(name, yes.get(place)) for place, name in enumerate(named)]

    def _read(self, text: str | None) -> str | None:
        """The category in an answer; None if it is not in the list."""
        if text is None:
            return None
        try:
            return str(self._answer.model_validate_json(text).model_dump()["category"])
        except ValidationError:
            return None

    def _label(self, name: str | None, yes: float | None) -> Label:
        if name == NOTHING:
            return Label("", 0.0)
        if name is None or yes is None:
            return Label("", math.nan)
        return Label(name if yes >= self.min_probability else "", yes)
