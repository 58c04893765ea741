"""The judge at its word."""

from __future__ import annotations

import pytest

from hpedit.judges.loading import load_judge
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.scorer.features import ask_features
from hpedit.scorer.uncalibrated import UncalibratedScorer


def test_it_is_the_expected_digit_and_nothing_else() -> None:
    judge = load_judge("mini")
    cases = make_cases(embedded_tiles("bench"), 1, 0, "b")[:3]
    images = [case.oracle.target for case in cases if case.oracle]
    scores = UncalibratedScorer(judge).score(cases, images, ["x", "y", "z"])
    asked = ask_features(judge, cases, images, {}).features[:, :2].tolist()
    assert [[score.value, score.std] for score in scores] == [pytest.approx(row) for row in asked]
    assert [score.edit_id for score in scores] == ["x", "y", "z"]
    assert {score.scorer for score in scores} == {UncalibratedScorer(judge).fingerprint}
