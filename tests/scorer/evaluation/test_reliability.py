"""Reliability: what well and badly calibrated scorers look like."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hpedit.scorer.evaluation.reliability import BINS, equal_bins, reliability_report, stated_deviation
from hpedit.stats.correlation import Resamples

RNG = np.random.default_rng(2)
N = 2000
DRAWS = Resamples.of([f"s{number // 4}" for number in range(N)])
DEVIATION = RNG.uniform(0.2, 1.0, N)
SCORE = RNG.uniform(1, 4, N)
TARGET = SCORE + RNG.normal(0, DEVIATION)


def test_an_honest_deviation_covers_what_it_says() -> None:
    found = stated_deviation(SCORE, DEVIATION, TARGET, DRAWS)
    assert found is not None
    for level, share in found["coverage"].items():
        assert share["value"] == pytest.approx(float(level), abs=0.03)
        assert share["ci95"][0] < share["nominal"] < share["ci95"][1]
    assert found["z_spread"]["value"] == pytest.approx(1, abs=0.05)
    assert found["says"] == "holds"
    assert found["stated"] == pytest.approx(found["actual"], rel=0.05)
    for part in found["bins"]:
        assert part["actual"]["value"] == pytest.approx(part["stated"], rel=0.2)


@pytest.mark.parametrize(("factor", "says"), [(0.5, "too small"), (2.0, "too large")])
def test_a_scorer_too_sure_or_too_unsure_of_itself_is_told_so(factor: float, says: str) -> None:
    found = stated_deviation(SCORE, DEVIATION * factor, TARGET, DRAWS)
    assert found is not None
    assert found["says"] == says
    assert found["z_spread"]["value"] == pytest.approx(1 / factor, rel=0.05)
    assert (found["coverage"]["0.8"]["value"] < 0.8) == (factor < 1)


def test_a_small_fault_of_a_large_table_still_holds() -> None:
    found = stated_deviation(SCORE, DEVIATION * 1.05, TARGET, DRAWS)
    assert found is not None
    assert found["z_spread"]["ci95"][1] < 1
    assert found["says"] == "holds"


def test_edits_without_a_stated_deviation_are_left_out_and_counted() -> None:
    deviation = DEVIATION.copy()
    deviation[:7], deviation[7:10] = np.nan, 0.0
    found = stated_deviation(SCORE, deviation, TARGET, DRAWS)
    assert found is not None
    assert (found["n"], found["left_out"]) == (N - 10, 10)
    assert stated_deviation(SCORE, np.full(N, np.nan), TARGET, DRAWS) is None


def test_bins_of_a_calibrated_score_lie_on_the_line() -> None:
    found = reliability_report(SCORE, TARGET, DRAWS)
    assert len(found["bins"]) == BINS
    assert sum(part["n"] for part in found["bins"]) == N
    for part in found["bins"]:
        low, high = part["rating"]["ci95"]
        assert low - 0.1 < part["score"] < high + 0.1
    assert found["slope"]["value"] == pytest.approx(1, abs=0.05)
    assert found["bias"]["value"] == pytest.approx(0, abs=0.05)
    assert sum(found["histogram"]["scores"]) == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def test_a_compressed_scale_shows_in_slope_and_bias() -> None:
    found = reliability_report(1 + SCORE / 2, SCORE, DRAWS)
    assert found["slope"]["value"] == pytest.approx(2)
    assert found["bias"]["value"] == pytest.approx((1 - SCORE / 2).mean())


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_edits_make_few_bins_and_no_crash(n: int) -> None:
    draws = Resamples.of(["a"] * n)
    found = reliability_report(SCORE[:n], TARGET[:n], draws)
    assert len(found["bins"]) == min(n, 1)
    assert all(part["rating"]["ci95"] == [None, None] for part in found["bins"])
    deviation = stated_deviation(SCORE[:n], DEVIATION[:n], TARGET[:n], draws)
    assert deviation is None if n == 0 else deviation["says"] is None
    json.dumps([found, deviation], allow_nan=False)


def test_a_constant_score_is_one_bin_without_a_slope() -> None:
    found = reliability_report(np.full(N, 2.0), TARGET, DRAWS)
    assert len(found["bins"]) == 1
    assert found["slope"]["value"] is None


def test_equal_values_share_a_bin() -> None:
    values = np.repeat([0.0, 1.0, 2.0], [900, 50, 50])
    parts = equal_bins(values)
    assert [np.unique(values[rows]).tolist() for rows in parts] == [[0.0], [1.0, 2.0]]
