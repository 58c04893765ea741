"""Simulated raters are labelled, repeatable, human-like in their noise, and follow the oracle."""

from __future__ import annotations

import numpy as np

from hpedit.mini.oracle import score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.raters import PER_EDIT, simulate_ratings
from hpedit.mini.scenes import make_cases
from hpedit.records import Edit


def test_ratings_are_labelled_whole_and_follow_the_oracle() -> None:
    cases = make_cases(embedded_tiles("calibration"), 8, 0, "c")
    targets = [case.oracle.target if case.oracle else case.source for case in cases]
    edits = [
        Edit(f"e{i}", case.id, "x", 0, target if i % 2 else case.source)
        for i, (case, target) in enumerate(zip(cases, targets, strict=True))
    ]
    ratings = simulate_ratings(cases, edits, seed=1)
    assert len(ratings) == PER_EDIT * len(edits)
    assert all(rating.simulated for rating in ratings)
    assert all(rating.score == int(rating.score) for rating in ratings)
    truth = {edit.id: score_edit(case, edit.image) for case, edit in zip(cases, edits, strict=True)}
    found = np.corrcoef([rating.score for rating in ratings], [truth[rating.edit_id] for rating in ratings])[0, 1]
    assert found > 0.9
    assert ratings == simulate_ratings(cases, edits, seed=1)
    assert ratings != simulate_ratings(cases, edits, seed=2)
