"""The report of a scorer beside the judge and people, on the same edits."""

from __future__ import annotations

import json
import math
import resource
import time
from typing import Any

import numpy as np
import pytest

from hpedit.cli.scorer_tables import agreement_lines
from hpedit.errors import HPEditError
from hpedit.report.scorer_page import render_scorer_page
from hpedit.scorer.evaluation.human_agreement import MEASURES, agreement_report

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


def test_the_scorers_error_ties_and_trust_stand_beside_its_agreement() -> None:
    whole = report(deviation=np.full(60, 0.6))
    mean = RATINGS.mean(axis=1)
    assert whole["mae"]["value"] == pytest.approx(np.abs(SCORES - mean).mean())
    assert whole["rmse"] == pytest.approx(np.sqrt(((SCORES - mean) ** 2).mean()))
    assert whole["gain"]["mae"]["ci95"][1] < 0 < whole["human"]["mae"]["value"]
    pairs = whole["pairs"]
    assert pairs["pairs"] == 15 * 6 == sum(count for name, count in pairs.items() if name != "pairs")
    assert whole["deviation"]["n"] == 60
    assert whole["tasks"]["color"]["deviation"]["n"] == 30
    assert whole["reliability"]["slope"]["value"] == pytest.approx(np.polyfit(SCORES, mean, 1)[0])
    assert report()["deviation"] is None


def test_ties_of_the_scorer_are_reported_apart_and_not_counted_wrong() -> None:
    whole = report(prediction=np.round(SCORES / 2.5), raw=np.full(60, 2.0))
    assert whole["pairs"]["tied_by_score"] > 0
    assert (
        whole["pairwise_ties_wrong"]["value"] < whole["pairwise_accuracy"]["value"] < whole["pairwise_untied"]["value"]
    )
    assert whole["raw"]["pairwise_accuracy"]["value"] == 0.5
    assert whole["raw"]["pairwise_untied"]["value"] is None


def test_an_error_in_another_unit_is_not_given() -> None:
    assert report(raw=RAW * 20)["raw"]["mae"]["value"] is None
    assert report(raw=RAW * 20)["gain"]["mae"]["value"] is None
    assert report(raw=RAW * 20)["raw"]["pearson"]["value"] == pytest.approx(report()["raw"]["pearson"]["value"])


@pytest.mark.parametrize(
    "changes",
    [
        {"sources": ["one photo"] * 60},
        {"prediction": np.full(60, 2.0), "raw": np.full(60, 3.0)},
        {"prediction": np.full(60, math.nan)},
        {"ratings": np.full((60, 3), 2.0), "prediction": np.full(60, 2.0)},
        {"ratings": RATINGS[:, :1]},
        {"sources": [f"s{row}" for row in range(60)]},
        {
            "prediction": np.where(np.arange(60) < 30, SCORES, math.nan),
            "ratings": np.where(np.arange(60)[:, None] < 30, math.nan, RATINGS),
        },
    ],
    ids=["one source", "constant scores", "no scores", "all ties", "one rater", "no pairs", "no overlap"],
)
def test_what_cannot_be_measured_is_null_and_the_report_stands(changes: dict[str, Any]) -> None:
    whole = report(deviation=np.full(60, 0.5), **changes)
    text = json.dumps(whole, allow_nan=False)
    assert "pearson" in text
    page = render_scorer_page(whole)
    assert "nan" not in page.lower()
    assert "\n".join(agreement_lines(whole))
    if whole["n"] == 0 or np.ptp(RATINGS) == 0:
        assert whole["pearson"] == {"value": None, "ci95": [None, None]}


@pytest.mark.slow
def test_a_hundred_thousand_ratings_take_seconds_and_little_memory() -> None:
    rng, n = np.random.default_rng(0), 20_000
    truth = rng.uniform(0, 5, n)
    ratings = np.full((n, 100), math.nan)
    for _ in range(5):
        ratings[np.arange(n), rng.integers(100, size=n)] = np.clip(np.round(truth + rng.normal(0, 0.7, n)), 0, 5)
    sources = [f"s{number}" for number in rng.integers(5000, size=n)]
    tasks = [f"t{row % 8}" for row in range(n)]
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    whole = agreement_report(truth, np.round(truth), ratings, sources, tasks, deviation=np.full(n, 0.4))
    assert time.process_time() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert (whole["n"], whole["human"]["raters"], len(whole["tasks"])) == (n, 100, 8)
    assert whole["pearson"]["ci95"][1] - whole["pearson"]["ci95"][0] < 0.01


def test_unscorable_and_unrated_edits_are_left_out_of_all_comparisons_and_counted() -> None:
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
def test_ratings_that_say_little_give_null_not_a_crash(ratings: Any) -> None:
    whole = report(ratings=ratings)
    assert whole["human"]["pearson"]["value"] is None
    json.dumps(whole, allow_nan=False)


def test_one_edit_has_values_of_nothing() -> None:
    one = report(prediction=SCORES[:1], raw=RAW[:1], ratings=RATINGS[:1], sources=["a"], tasks=[""])
    assert (one["n"], one["pearson"]["value"], one["verdict"], one["tasks"]) == (1, None, "no signal", {})


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(HPEditError, match="60 scores, 60 raw scores, 60 rows of ratings, 59 source ids"):
        report(sources=SOURCES[1:])
