"""What every labeller gives: the category of a photograph's main object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Label:
    """What a photograph shows."""

    category: str
    """Empty where there is none."""
    probability: float
    """Of the best category, 0 to 1, even where it is too small to count; 1 for a given label, 0 where none was sought.

    CLIP's are shares of all categories, SigLIP's and a judge's are each category's own: the two can't be compared.
    """


class Labeller(Protocol):
    """Whoever names the main object."""

    def label(self, images: Sequence[Image.Image], given: Sequence[Sequence[str]] = ()) -> list[Label]:
        """One label a picture, in order. `given`: the labels that came with each, the main one first."""
        ...
