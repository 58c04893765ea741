"""From a judge's cells to features: what is an answer and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpedit.scorer.tables.rubrics import RUBRICS, find_rubric, parse_answer


@pytest.mark.parametrize("text", ["ten", "n/a", "nan", "inf", "8/10", "1_0", "7,5", "٣", "8 9", "0x5", "true"])
def test_what_is_not_a_plain_number_is_no_answer(text: str) -> None:
    value, reason = parse_answer(text, (0, 10))
    assert math.isnan(value)
    assert reason == "not a number"


@pytest.mark.parametrize("text", ["11", "-1", "1e9", "10.001"])
def test_a_number_off_the_scale_is_no_answer_and_is_not_clipped(text: str) -> None:
    value, reason = parse_answer(text, (0, 10))
    assert math.isnan(value)
    assert reason == "not in 0 to 10"


def test_an_empty_cell_is_no_answer() -> None:
    assert parse_answer("", (0, 10))[1] == "no answer"


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("7.5", 7.5), ("+3", 3.0), ("1e1", 10.0), (".5", 0.5)])
def test_a_plain_number_is_an_answer(text: str, value: float) -> None:
    assert parse_answer(text, (0, 10)) == (value, "")


def test_viescore_is_the_root_of_the_product_of_the_worse_answers() -> None:
    cells = [[9, 4, 6, 10], [0, 10, 8, 8], [math.nan, 10, 8, 8]]
    answers = dict(zip(RUBRICS["viescore"].required, np.array(cells).T, strict=True))
    names, values = RUBRICS["viescore"].features(answers)
    assert names[0] == "overall"
    np.testing.assert_allclose(values[:, 0], [math.sqrt(4 * 6) / 2, 0, math.nan])
    assert not np.isnan(values[2, names.index("quality")])


def test_the_rubric_follows_from_the_columns() -> None:
    assert find_rubric(["edit_id", "expected", "p0"]) is RUBRICS["expectation"]
    assert find_rubric(["edit_id", *RUBRICS["viescore"].required]) is RUBRICS["viescore"]
    assert find_rubric(["edit_id", "edit_success"]) is None
