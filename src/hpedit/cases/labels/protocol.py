"""The protocol of labellers: the category of a photograph's main object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Label:
    """The category of a photograph's main object, with its probability."""

    category: str
    """May be empty."""
    probability: float
    """Of the best category, 0 to 1, even if it is below the minimum; 1 for a given label, 0 for none.

    CLIP's add up to 1 over the categories, SigLIP's and a judge's are independent: the two are not comparable.
    """


class Labeller(Protocol):
    """Classifies the main object of photographs."""

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:
        """Label each picture; `given` are the labels that came with each, the main one first."""
        ...
