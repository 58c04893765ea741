"""Labels by a VLM: it names the category of the main object, and is then asked whether that is there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal, cast

from PIL import Image
from pydantic import ConfigDict, ValidationError, create_model

from hpedit.cases.coco import indefinite, spoken
from hpedit.cases.instructions.schema import THERE, shown
from hpedit.cases.labels.protocol import Label
from hpedit.judges.protocol import IMAGE, YES_NO, Question
from hpedit.judges.writing import WritingJudge, WritingPrompt

NOTHING = "none of these"
ASK = (
    "\nWhich of these is the main object in this picture: {names}? "
    'Answer in JSON, as {{"category": "{first}"}}; "{nothing}" where none of them is in it.'
)


class JudgeLabeller:
    """Lets a judge name the category.

    Args:
        judge: Writes and answers.
        categories: What to choose from, at least one.
        min_probability: Of yes, when asked whether the category is there; below it a photograph has none.
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
        """See `Labeller`; where the judge can't be read there is no category, and the probability is NaN.

        Raises:
            HPEditError: no judge answers any more, or too many answers can't be read.
        """
        pictures = [shown(image) for image in images]
        prompts = [WritingPrompt(Question((IMAGE,), (picture,), self._ask), self._schema) for picture in pictures]
        named = [self._read(reply.text) for reply in self.judge.write(prompts)]
        asked = [place for place, name in enumerate(named) if name not in (None, NOTHING)]
        answers = self.judge.ask(
            [Question((IMAGE,), (pictures[k],), "\n" + _is_there(str(named[k])), YES_NO) for k in asked]
        )
        yes = {place: answer.expected for place, answer in zip(asked, answers, strict=True)}
        return [self._label(name, yes.get(place)) for place, name in enumerate(named)]

    def _read(self, text: str | None) -> str | None:
        """The category in a text; None where it is none of those asked for."""
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


def _is_there(name: str) -> str:
    return THERE.format(object=indefinite(spoken(name)))
