"""The judge protocol: questions about images, answers as probabilities over choices. Imports no backend.

    question = Question(stem, (source, edit), tail)      # the prompt is stem + tail
    answer, = judge.ask([question])
    answer.expected                                      # expectation over the digits; None when unreadable

Probabilities are read off the distribution of the token that begins the answer, never sampled: a sampled digit wastes
signal (UniWorld-V2, arXiv 2510.16888, measured 74.7 % against 60.8 % pairwise agreement).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

IMAGE = "\x00"
"""Placeholder of one image in a prompt's text."""
DIGITS = ("0", "1", "2", "3", "4", "5")
"""Answers to a question of degree: their expectation is the score."""
YES_NO = ("no", "yes")
"""Answers to a question of fact."""
MIN_MASS = 0.5
"""Least probability of all choices together; below it the judge wants to say something else and is unreadable."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with its images. Questions about one edit share stem and images: a backend computes them once."""

    stem: tuple[str, ...]
    """Parts in order; a part equal to IMAGE is an image's place."""
    images: tuple[Image.Image, ...]
    """RGB, one for each place in the stem."""
    tail: str
    """The prompt after the stem, up to where the answer begins."""
    choices: tuple[str, ...] = DIGITS


@dataclass(frozen=True, slots=True)
class Answer:
    """A judge's answer to one question."""

    probabilities: tuple[float, ...] | None
    """Of the question's choices in their order, scaled to sum 1; None when the answer can't be read."""
    reason: str | None = None
    """Why there are no probabilities."""
    missing: tuple[str, ...] = ()
    """Choices that the server did not list; their probability is taken as 0."""

    @property
    def expected(self) -> float | None:
        """Expectation of the choices' places 0, 1, ...: the digit, or the probability of yes; None when unreadable."""
        if self.probabilities is None:
            return None
        return sum(place * p for place, p in enumerate(self.probabilities))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the places under the judge's probabilities; None when unreadable."""
        if self.probabilities is None or self.expected is None:
            return None
        mean = self.expected
        return math.sqrt(sum(p * (place - mean) ** 2 for place, p in enumerate(self.probabilities)))


class Judge(Protocol):
    """A model that answers questions about images with probabilities."""

    @property
    def fingerprint(self) -> str:
        """Identifies model, revision and decoding."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer per question, in order; one that can't be answered has probabilities None and a reason."""
        ...


def answer_from_masses(masses: Sequence[float], choices: Sequence[str], missing: Sequence[str] = ()) -> Answer:
    """Turn the probabilities of the choices, over the whole vocabulary, into an answer.

    NaN, or less than MIN_MASS in all, is unreadable: None with the reason, never a score of 0.
    """
    if any(math.isnan(mass) for mass in masses):
        return Answer(None, "the judge's probabilities are not numbers")
    total = sum(masses)
    if not MIN_MASS <= total <= 1 + 1e-3:
        wanted = f"{choices[0]} to {choices[-1]}" if len(choices) > 2 else " or ".join(choices)
        return Answer(None, f"the judge did not answer with {wanted}: they have {total:.2f} of its probability")
    return Answer(tuple(mass / total for mass in masses), missing=tuple(missing))
