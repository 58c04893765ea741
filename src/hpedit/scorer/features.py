"""Ask a judge about edits and collect its answers in a feature matrix, which a calibration maps to the human scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hpedit.judges.protocol import Answer, Judge, Question
from hpedit.records import Case
from hpedit.scorer.prompts import LIBRARY, Reasoning, find_question, reasoning_question, score_question
from hpedit.stats.bootstrap import FloatArray

BASE = ("expected", "spread")
"""Features of the answer to the base prompt: expectation of the digits and their standard deviation."""
QUESTIONS: tuple[str, ...] = tuple(sorted({question.feature for own in LIBRARY.values() for question in own}))
"""Features of all questions of all tasks; a feature is the question of that name in every task that has it."""
FEATURES = (*BASE, *QUESTIONS)
"""The columns of every feature matrix, asked or not."""


@dataclass(frozen=True, slots=True)
class FeatureMatrix:
    """A judge's answers about n edits as calibration features."""

    features: FloatArray
    """(n, f) in the order of FEATURES: digits in [0, 5], questions in [0, 1]; NaN = not asked or unreadable."""
    reasons: tuple[str | None, ...]
    """(n,) why the base prompt has no answer; None if it has one."""
    unreadable: int
    """Answers to questions that could not be read."""


def ask_features(
    judge: Judge,
    cases: Sequence[Case],
    images: Sequence[Image.Image],
    questions: Mapping[str, Sequence[str]] | None = None,
) -> FeatureMatrix:
    """Ask a judge the base prompt and reasoning questions about edits.

    Args:
        judge: Gets all questions about one edit in a row, so that it can share their common prefix.
        cases: (n,) the case of each edit.
        images: (n,) the edits.
        questions: Features to ask for by task; the whole library if None.
    """
    asked: list[Question] = []
    places: list[tuple[int, Reasoning | None]] = []
    for row, (case, image) in enumerate(zip(cases, images, strict=True)):
        asked.append(score_question(case, image))
        places.append((row, None))
        for question in _chosen(case.task, questions):
            asked.append(reasoning_question(question, case, image))
            places.append((row, question))
    features = np.full((len(cases), len(FEATURES)), np.nan)
    reasons: list[str | None] = [None] * len(cases)
    unreadable = 0
    for (row, chosen), answer in zip(places, judge.ask(asked), strict=True):
        if chosen is None:
            features[row, : len(BASE)] = _base(answer)
            reasons[row] = answer.reason if answer.expected is None else None
        else:
            features[row, FEATURES.index(chosen.feature)] = chosen.value(answer)
            unreadable += answer.expected is None
    return FeatureMatrix(features, tuple(reasons), unreadable)


def _chosen(task: str, questions: Mapping[str, Sequence[str]] | None) -> Sequence[Reasoning]:
    if questions is None:
        return LIBRARY[task]
    return [find_question(task, feature) for feature in questions.get(task, ())]


def _base(answer: Answer) -> tuple[float, float]:
    if answer.expected is None or answer.spread is None:
        return math.nan, math.nan
    return answer.expected, answer.spread
