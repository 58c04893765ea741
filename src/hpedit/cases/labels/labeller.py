"""The category of a photograph's main object.

    labeller = load_labeller(recipe.labels)
    for label in labeller.label(images, given): ...

A category is one of the 80 of COCO, unless the recipe names others. Below the recipe's least probability there is none:
a photograph of nothing in the list must not be counted as one of a toaster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from hpedit.cases.coco import COCO
from hpedit.cases.labels.protocol import Label, Labeller
from hpedit.cases.recipe import LabelsSection

if TYPE_CHECKING:
    from hpedit.judges.writing import WritingJudge


def load_labeller(section: LabelsSection, *, judge: WritingJudge | None = None) -> Labeller:
    """The labeller that a recipe asks for; a model is loaded with it.

    Args:
        section: The recipe's.
        judge: Answers instead of `section.model`, where the judge labels.

    Raises:
        HPEditError: no such model, or it is none of the kind.
    """
    categories = tuple(dict.fromkeys(section.categories)) or COCO
    if section.by in ("none", "given"):
        return GivenLabels(section.by == "given", frozenset(section.categories))
    assert section.model is not None or judge is not None, "the recipe's schema asks for it"
    if section.by == "clip":
        from hpedit.cases.labels.zero_shot import ZeroShotLabeller

        return ZeroShotLabeller.load(str(section.model), section.revision, categories, section.min_probability)
    from hpedit.cases.labels.judge import JudgeLabeller
    from hpedit.judges.loading import load_writing_judge

    judge = judge or load_writing_judge(str(section.model), revision=section.revision)
    return JudgeLabeller(judge, categories, section.min_probability)


class GivenLabels:
    """Takes the main label that came with a photograph.

    Args:
        take: False gives no category to any.
        categories: Labels that count; empty takes them all.
    """

    def __init__(self, take: bool, categories: frozenset[str] = frozenset()) -> None:
        self.take = take
        self.categories = categories

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:
        """See `Labeller`."""
        labels = given or [()] * len(images)
        return [self._first(names) for _, names in zip(images, labels, strict=True)]

    def _first(self, names: Sequence[str]) -> Label:
        fitting = (name for name in names if name and (not self.categories or name in self.categories))
        main = next(fitting, "") if self.take else ""
        return Label(main, 1.0 if main else 0.0)
