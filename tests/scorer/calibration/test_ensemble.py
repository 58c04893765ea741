"""Several judges: who counts, who does not, and what happens to an edit that one of them could not answer."""

from __future__ import annotations

import numpy as np

from hpedit.scorer.calibration.ensemble import fit_ensemble

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(0.5, 4.5, 300)
SOURCES = [f"s{row // 3}" for row in range(300)]
ONE, TWO = (np.clip(2.5 + 0.7 * (TRUTH - 2.5) + RNG.normal(0, 0.7, 300), 0, 5) for _ in range(2))
WORSE = np.clip(ONE + RNG.normal(0, 1.0, 300), 0, 5)
BLIND = np.full(300, 2.5) + RNG.normal(0, 0.1, 300)


def test_judges_that_see_different_things_both_count() -> None:
    ensemble = fit_ensemble(np.column_stack([ONE, TWO]), [True, True], TRUTH, SOURCES)
    assert min(ensemble.weights) > 0.3
    mean, _ = ensemble.predict(np.column_stack([ONE, TWO]), np.zeros((300, 2)))
    assert np.mean((mean - TRUTH) ** 2) < 0.8 * np.mean((ONE - TRUTH) ** 2)


def test_a_judge_that_adds_nothing_gets_no_weight() -> None:
    ensemble = fit_ensemble(np.column_stack([WORSE, ONE]), [True, True], TRUTH, SOURCES)
    assert (ensemble.judges, ensemble.weights, ensemble.intercept) == ((0, 1), (0.0, 1.0), 0.0)


def test_a_judge_without_signal_is_left_out() -> None:
    ensemble = fit_ensemble(np.column_stack([BLIND, ONE]), [False, True], TRUTH, SOURCES)
    assert (ensemble.judges, ensemble.weights) == ((1,), (1.0,))
    mean, _ = ensemble.predict(np.array([[3.0, np.nan]]), np.zeros((1, 2)))
    assert np.isnan(mean[0])


def test_of_judges_that_all_have_no_signal_one_stands_alone() -> None:
    ensemble = fit_ensemble(np.column_stack([BLIND, ONE]), [False, False], TRUTH, SOURCES)
    assert ensemble.judges == (1,)


def test_an_edit_that_one_judge_could_not_answer_is_scored_from_the_others() -> None:
    scores = np.column_stack([ONE, TWO])
    holed = scores.copy()
    holed[:100, 0] = np.nan
    ensemble = fit_ensemble(scores, [True, True], TRUTH, SOURCES)
    full, none = ensemble.predict(scores, np.zeros((300, 2)))
    mean, variance = ensemble.predict(holed, np.zeros((300, 2)))
    assert np.corrcoef(mean[:100], TRUTH[:100])[0, 1] > 0.7
    assert (variance[:100] > none[:100]).all()
    np.testing.assert_array_equal(mean[100:], full[100:])


def test_a_judge_without_weight_still_stands_in_for_another() -> None:
    scores = np.column_stack([WORSE, ONE])
    ensemble = fit_ensemble(scores, [True, True], TRUTH, SOURCES)
    scores[:, 1] = np.nan
    mean, variance = ensemble.predict(scores, np.zeros((300, 2)))
    assert np.corrcoef(mean, TRUTH)[0, 1] > 0.5
    assert (variance > 0).all()


def test_a_better_score_of_any_judge_never_lowers_the_whole() -> None:
    ensemble = fit_ensemble(np.column_stack([ONE, TWO]), [True, True], TRUTH, SOURCES)
    for column in range(2):
        scores = np.full((41, 2), 2.0)
        scores[:, column] = np.linspace(0, 5, 41)
        mean, _ = ensemble.predict(scores, np.zeros((41, 2)))
        assert (np.diff(mean) > 0).all()
        assert 0 <= mean.min() <= mean.max() <= 5
