"""What every family of models promises: monotone, on the scale, shared between tasks, the same after JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from hpedit.scorer.calibration import ordinal, trees
from hpedit.scorer.calibration.base_selection import FAMILIES
from hpedit.scorer.calibration.fitted_models import MODELS, Model
from hpedit.scorer.calibration.sample import RatedSample

RNG = np.random.default_rng(0)


def make_sample(n: int = 240, tasks: int = 2) -> RatedSample:
    truth = RNG.uniform(0, 1, n)
    answers = np.clip(truth[:, None] + RNG.normal(0, 0.2, (n, 3)), 0, 1)
    overall = 5 * answers[:, :2].min(axis=1)
    spread = RNG.uniform(0, 1, n)
    names = [f"task{row % tasks}" for row in range(n)]
    bias = np.array([0.0 if name == "task0" else 1.0 for name in names])
    target = np.clip(np.round(2 * (5 * truth**2 + bias + RNG.normal(0, 0.3, n))) / 2, 0, 5)
    return RatedSample(
        np.column_stack([overall, answers, spread]),
        (True, True, True, True, False),
        (True, False, False, False, False),
        names,
        target,
        names,
    )


SAMPLE = make_sample()


def fit_all(name: str, sample: RatedSample = SAMPLE) -> list[Model]:
    family = FAMILIES[name]
    return family.fit(sample, family.grid(sample))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_better_answer_never_lowers_a_score_and_scores_stay_on_the_scale(name: str) -> None:
    for model in fit_all(name):
        for column in range(4):
            grid = np.tile([2.0, 0.4, 0.4, 0.4, 0.5], (60, 1))
            grid[:, column] = np.linspace(-0.5, 6 if column == 0 else 1.5, 60)
            for task in ("task0", "unknown"):
                score = model.predict(grid, [task] * 60)
                assert (np.diff(score) >= -1e-12).all()
                assert 0 <= score.min() <= score.max() <= 5


@pytest.mark.parametrize("name", FAMILIES)
def test_it_learns_a_curve_and_the_tasks_levels(name: str) -> None:
    model, fresh = fit_all(name)[-1], make_sample()
    assert np.corrcoef(model.predict(fresh.answers, fresh.tasks), fresh.target)[0, 1] > 0.85
    first, second, other = (model.predict(SAMPLE.answers, [task] * 240).mean() for task in ("task0", "task1", "?"))
    assert first < other < second


@pytest.mark.parametrize("name", FAMILIES)
def test_json_brings_back_the_same_scores(name: str) -> None:
    for model in fit_all(name):
        again = MODELS[name].from_json(json.loads(json.dumps(asdict(model), allow_nan=False)))
        np.testing.assert_array_equal(
            again.predict(SAMPLE.answers, SAMPLE.tasks), model.predict(SAMPLE.answers, SAMPLE.tasks)
        )


def test_trees_are_those_of_scikit_learn() -> None:
    from sklearn.tree import DecisionTreeRegressor

    answers, target = SAMPLE.answers[:, 1:], SAMPLE.target
    grown = DecisionTreeRegressor(max_depth=2, monotonic_cst=[1, 1, 1, 0], random_state=0).fit(answers, target)
    tree = trees._read_grown(grown.tree_)
    points = RNG.uniform(0, 1, (500, 4))
    wanted = trees._RATE * np.asarray(grown.predict(points), dtype=np.float64)
    np.testing.assert_allclose(tree.predict(points), wanted, rtol=1e-12)


def test_the_ordinal_models_gradient_is_that_of_its_loss() -> None:
    z = RNG.normal(size=(60, 3))
    problem = ordinal._Likelihood(
        anchor=z[:, 0], rest=z[:, 1:], task=np.arange(60) % 2, tasks=2, mass=ordinal._masses(SAMPLE.target[:60])
    )
    x = problem.start + RNG.normal(0, 0.1, len(problem.start))
    _, gradient = problem.loss(x, 2.0, 5.0)
    for place, step in enumerate(1e-6 * np.eye(len(x))):
        slope = (problem.loss(x + step, 2.0, 5.0)[0] - problem.loss(x - step, 2.0, 5.0)[0]) / 2e-6
        assert gradient[place] == pytest.approx(slope, abs=1e-4)


def test_a_mean_rating_between_two_steps_counts_as_both_in_proportion() -> None:
    mass = ordinal._masses(np.array([0.0, 2.25, 5.0]))
    np.testing.assert_allclose(mass, [[1, 0, 0, 0, 0, 0], [0, 0, 0.75, 0.25, 0, 0], [0, 0, 0, 0, 0, 1]])


def test_the_lasso_leaves_out_what_an_overlapping_answer_already_says() -> None:
    answers = np.column_stack([SAMPLE.answers[:, 1], SAMPLE.answers[:, 1] + RNG.normal(0, 0.3, 240)])
    sample = RatedSample(answers, (True, True), (False, False), ["t"] * 240, SAMPLE.target, ["s"] * 240)
    model = asdict(ordinal.fit_ordinal(sample, [{"lasso": 10.0, "pooling": 1.0}])[0])
    assert model["weights"][0] < 0.2 * model["slope"]
