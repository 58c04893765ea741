"""The linear model under the calibration: ridge where nothing forbids it, true to its signs, pooled over tasks."""

from __future__ import annotations

import numpy as np
import pytest

from hpedit.scorer.calibration.linear import NormalEquations, Penalty

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(80, 3))
TWO_TASKS = ["a"] * 40 + ["b"] * 40


def test_without_sign_constraints_at_work_it_is_ridge_regression() -> None:
    target = 1 + FEATURES @ [2.0, 1.0, -3.0] + RNG.normal(size=80)
    fit = NormalEquations(FEATURES, (True, True, False), ["t"] * 80, target).solve(Penalty(5.0, 1.0))
    centred = FEATURES - FEATURES.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + np.diag([0, 5.0, 5.0]), centred.T @ target)
    np.testing.assert_allclose([fit.slope, *fit.weights], expected, atol=1e-5)
    assert fit.intercept == pytest.approx(target.mean() - FEATURES.mean(axis=0) @ expected, abs=1e-5)


def test_a_rising_feature_never_counts_against_an_edit() -> None:
    fit = NormalEquations(FEATURES, (True,) * 3, ["t"] * 80, FEATURES @ [-1.0, -1.0, 1.0]).solve(Penalty(1.0, 1.0))
    assert (fit.slope, fit.weights[0]) == (0.0, 0.0)
    assert fit.weights[1] > 0


def test_pooling_goes_from_one_line_a_task_to_one_line_for_all() -> None:
    slope = np.repeat([1.0, 3.0], 40)
    target = slope * FEATURES[:, 0] + np.repeat([0.0, 2.0], 40)
    problem = NormalEquations(FEATURES[:, :1], (True,), TWO_TASKS, target)
    apart, together = problem.solve(Penalty(1.0, 1e-3)), problem.solve(Penalty(1.0, 1e6))
    assert apart.slopes == pytest.approx({"a": 1.0, "b": 3.0}, abs=0.01)
    assert apart.offsets["b"] - apart.offsets["a"] == pytest.approx(2.0, abs=0.01)
    assert together.slopes["a"] == pytest.approx(together.slopes["b"], abs=0.01)
    assert together.offsets == pytest.approx({"a": 0.0, "b": 0.0}, abs=0.01)


def test_a_task_that_was_not_fitted_takes_what_all_share() -> None:
    fit = NormalEquations(FEATURES, (True,) * 3, TWO_TASKS, FEATURES[:, 0]).solve(Penalty(1.0, 5.0))
    start, coefficients = fit.coefficients(["new", "a"])
    assert start[0] == fit.intercept
    assert coefficients[0, 0] == fit.slope
    assert coefficients[1, 0] == fit.slopes["a"]


def test_no_shrinkage_value_means_the_anchor_alone() -> None:
    fit = NormalEquations(FEATURES, (True,) * 3, TWO_TASKS, FEATURES.sum(axis=1)).solve(Penalty(None, 5.0))
    assert fit.weights == (0.0, 0.0)
    assert fit.slope > 0


def test_repeated_and_constant_features_are_no_trouble() -> None:
    columns = np.column_stack([FEATURES[:, 0], FEATURES[:, 0], np.zeros(80)])
    fit = NormalEquations(columns, (True, False, True), ["t"] * 80, FEATURES[:, 0]).solve(Penalty(10.0, 1.0))
    assert fit.slope + fit.weights[0] == pytest.approx(1.0, abs=0.01)
    assert fit.weights[1] == 0.0
