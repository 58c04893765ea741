"""Position bias of a judge: what flips when source and edit change places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from hpedit.judges.protocol import Answer, Question
from hpedit.records import Case, Edit
from hpedit.scorer.probes.order_swap import order_swap_report

Look = Callable[[Question], float | None]


def light(image: Image.Image) -> float:
    return float(np.asarray(image).mean() / 255 * 5)


class LookingJudge:
    """Answers with the expectation that `look` has of a question; None is unreadable."""

    fingerprint = "looking"

    def __init__(self, look: Look) -> None:
        self.look = look

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        return [self._answer(self.look(question)) for question in questions]

    def _answer(self, value: float | None) -> Answer:
        if value is None:
            return Answer(None, "says nothing")
        low = min(int(value), 4)
        return Answer(
            tuple(
                np.interp(d, (low, low + 1), (low + 1 - value, value - low)) if d in (low, low + 1) else 0.0
                for d in range(6)
            )
        )


def edit_of(question: Question) -> Image.Image:
    """The edit, wherever it stands: sources are 8 px, edits 4 px wide."""
    return next(image for image in question.images if image.width == 4)


def pairs(sources: Sequence[str], lights: Sequence[int]) -> tuple[list[Case], list[Edit]]:
    cases, edits = [], []
    for number, (source, level) in enumerate(zip(sources, lights, strict=True)):
        case = Case(f"c{number}", "color", "make it bright", (Image.new("RGB", (8, 8), (9 * number,) * 3),), source)
        cases.append(case)
        edits.append(Edit(f"e{number}", case.id, "m", 0, Image.new("RGB", (4, 4), (level,) * 3)))
    return cases, edits


TWO_EACH = pairs(["a", "a", "b", "b", "c", "c"], [10, 200, 30, 90, 250, 40])


def test_a_judge_that_looks_at_the_edit_flips_nothing() -> None:
    found = order_swap_report(LookingJudge(lambda question: light(edit_of(question))), *TWO_EACH)
    assert found["defined"]
    assert (found["pairs"], found["pairs_of"], found["edits"]) == (3, "one source", 6)
    assert found["flip_rate"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert found["difference"]["value"] == 0
    assert found["within"] is True


def test_a_judge_that_looks_at_a_place_flips_and_is_out_of_bounds() -> None:
    reversed_when_swapped = LookingJudge(
        lambda q: light(edit_of(q)) if q.images[1].width == 4 else 5 - light(edit_of(q))
    )
    found = order_swap_report(reversed_when_swapped, *TWO_EACH)
    assert found["flip_rate"]["value"] == 1
    assert found["difference"]["value"] > 1
    assert found["within"] is False
    assert order_swap_report(reversed_when_swapped, *TWO_EACH, max_flip=1.0)["within"] is True


def test_a_tie_in_the_other_order_is_half_a_flip_and_a_tie_in_the_first_is_no_pair() -> None:
    found = order_swap_report(LookingJudge(lambda q: light(q.images[1]) if q.images[1].width == 4 else 2.0), *TWO_EACH)
    assert found["flip_rate"]["value"] == pytest.approx(0.5)
    constant = order_swap_report(LookingJudge(lambda _: 2.0), *TWO_EACH)
    assert (constant["pairs"], constant["flip_rate"]["value"], constant["within"]) == (0, None, None)


def test_where_each_source_has_one_edit_all_are_compared() -> None:
    found = order_swap_report(LookingJudge(lambda q: light(edit_of(q))), *pairs("abcd", [10, 50, 120, 200]))
    assert (found["pairs"], found["pairs_of"]) == (6, "all edits")
    assert found["flip_rate"]["value"] == 0


def test_edits_unreadable_in_either_order_are_left_out_and_counted() -> None:
    def look(question: Question) -> float | None:
        dark = light(edit_of(question)) < 0.5
        return None if dark and question.images[0].width == 4 else light(edit_of(question))

    found = order_swap_report(LookingJudge(look), *TWO_EACH)
    assert (found["edits"], found["unreadable"], found["pairs"]) == (5, 1, 2)


def test_is_not_defined_without_a_judge() -> None:
    found = order_swap_report(None, *TWO_EACH)
    assert found["defined"] is False
    assert "no judge" in found["reason"]
