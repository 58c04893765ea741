"""Questions to ask, and a judge that counts what it is asked. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from hpedit.judges.protocol import DIGITS, IMAGE, Answer, Question

TAILS = ("\nScore, one digit from 0 to 5:", "\nIs it sharp? One digit from 0 to 5:", "\nIs the object gone?", "\nHm:")
FOUR = Answer((0.0, 0.0, 0.0, 0.1, 0.8, 0.1), missing=("0", "1"))


@dataclass
class CountingJudge:
    """Answers as told and keeps what it is asked."""

    fingerprint: str = "judge"
    answer: Answer = FOUR
    asked: list[Question] = field(default_factory=list)

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [self.answer] * len(questions)


def noise(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def edit_questions(
    edit: int = 0, tails: Sequence[str] = TAILS, choices: tuple[str, ...] = DIGITS, pictures: int = 2
) -> list[Question]:
    """Questions about one edit, of a length that depends on the edit."""
    stem = ("Instruction: make the red ball blue" + " and green" * (edit % 3), *("\nEdit:", IMAGE) * pictures)
    images = tuple(noise(10 * edit + place) for place in range(pictures))
    return [Question(stem, images, tail, choices) for tail in tails]
