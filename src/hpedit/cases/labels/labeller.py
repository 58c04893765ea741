"""Load a labeller: it classifies the main object of a photograph.

    labeller = load_labeller(recipe.labels)
    for label in labeller.label(images, given): ...

Categories are the 80 of COCO, unless the recipe names others. Below the recipe's minimum probability there is none, so
that a photograph of nothing in the list is not counted as a toaster.
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
    """Load the labeller that a recipe names, with its model.

    Args:
        section: Of the recipe.
        judge: Used instead of `section.model` if a judge labels.

    Raises:
        HPEditError: no such model, or one of another kind.
    """
    categories = tuple(dict.fromkeys(section.categories)) or COCO
    if section.by in ("none", "given"):
        return GivenLabels(section.by == "given", frozenset(section.categories))
    assert section.model is not None or judge is not None, "the recipe's schema requires it"
    if section.by == "clip":
        from hpedit.cases.labels.zero_shot import ZeroShotLabeller

        return ZeroShotLabeller.load(str(section.model), section.revision, categories, section.min_probability)
    from hpedit.cases.labels.judge_labeller import JudgeLabeller
    from hpedit.judges.loading import load_writing_judge

    judge = judge or load_writing_judge(str(section.model), revision=section.revision)
    return JudgeLabeller(judge, categories, section.min_probability)


class GivenLabels:
    """Takes the main label that came with a photograph as its category.

    Args:
        take: False gives no categories.
        categories: Labels that count; empty = all.
    """

    def __init__(self, take: bool, categories: frozenset[str] = frozenset()) -> None:
        self.take = take
        self.categories = categories

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:
        """See `Labeller`."""
        found: list[Label] = []
        for _, names in zip(images, given or [()] * len(images), strict=True):
            fitting = (name for name in names if name and (not self.categories or name in self.categories))
            main = next(fitting, "") if self.take else ""
            found.append(Label(main, 1.0 if main else 0.0))
        return found
