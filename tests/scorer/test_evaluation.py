"""The report of a scorer beside the judge and people, on the same edits."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.evaluation import MEASURES, agreement_report

RNG = np.random.default_rng(5)
TRUTH = RNG.uniform(0, 5, 60)
RATINGS = np.clip(np.round(TRUTH[:, None] + RNG.normal(0, 0.5, (60, 3))), 0, 5)
SCORES = np.clip(TRUTH + RNG.normal(0, 0.5, 60), 0, 5)
RAW = np.clip(TRUTH + RNG.normal(0, 2.0, 60), 0, 5)
SOURCES = [f"s{row // 4}" for row in range(60)]
TASKS = ["color", "style"] * 30


def report(**changes: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        "prediction": SCORES,
        "raw": RAW,
        "ratings": RATINGS,
        "sources": SOURCES,
        "tasks": TASKS,
    } | changes
    return agreement_report(**inputs)


def test_every_measure_stands_with_its_interval_for_scorer_judge_people_and_gain() -> None:
    whole = report()
    for part in (whole, whole["raw"], whole["human"], whole["gain"], whole["tasks"]["color"]):
        for name in MEASURES:
            low, high = part[name]["ci95"]
            assert low <= part[name]["value"] <= high
    assert (whole["n"], whole["sources"], whole["unscorable"], whole["unrated"]) == (60, 15, 0, 0)
    assert whole["gain"]["pearson"]["value"] == pytest.approx(
        whole["pearson"]["value"] - whole["raw"]["pearson"]["value"]
    )
    assert whole["gain"]["pearson"]["ci95"][0] > 0
    assert set(whole["tasks"]) == {"color", "style"}
    json.dumps(whole, allow_nan=False)


def test_J1_unscorable_and_unrated_edits_are_left_out_of_all_comparisons_and_counted() -> None:
    scores, raw, ratings = SCORES.copy(), RAW.copy(), RATINGS.copy()
    scores[:4], raw[2:6], ratings[5:8] = math.nan, math.nan, math.nan
    whole = report(prediction=scores, raw=raw, ratings=ratings)
    assert (whole["n"], whole["unscorable"], whole["unrated"]) == (52, 5, 3)
    assert (whole["unscorable_scorer"], whole["unscorable_raw"]) == (4, 3)
    assert whole["pearson"]["value"] == pytest.approx(np.corrcoef(SCORES[8:], RATINGS[8:].mean(axis=1))[0, 1])


def test_the_calibrations_verdict_of_no_signal_stands_whatever_these_edits_say() -> None:
    whole = report(verdict="no signal", reason="nothing there")
    assert (whole["verdict"], whole["reason"]) == ("no signal", "nothing there")


def test_an_ok_is_taken_back_by_edits_that_clearly_speak_against_it() -> None:
    assert report()["verdict"] == "ok"
    assert report(prediction=5 - SCORES)["verdict"] == "no signal"
    assert report(prediction=np.full(60, 2.0))["reason"] == "scores or ratings of these edits do not differ"


@pytest.mark.parametrize("ratings", [np.full((60, 3), math.nan), np.full((60, 3), 2.0), RATINGS[:, :1]])
def test_J4_ratings_that_say_little_give_null_not_a_crash(ratings: Any) -> None:
    whole = report(ratings=ratings)
    assert whole["human"]["pearson"]["value"] is None
    json.dumps(whole, allow_nan=False)


def test_one_edit_has_values_of_nothing() -> None:
    one = report(prediction=SCORES[:1], raw=RAW[:1], ratings=RATINGS[:1], sources=["a"], tasks=[""])
    assert (one["n"], one["pearson"]["value"], one["verdict"], one["tasks"]) == (1, None, "no signal", {})


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(HPEditError, match="60 scores, 60 raw scores, 60 rows of ratings, 59 source ids"):
        report(sources=SOURCES[1:])
