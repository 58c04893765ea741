"""Family "linear": the monotone linear model of `monotone` on the answers and, if it helps, on a curve of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from hpedit.scorer.calibration.design import Design, fit_design
from hpedit.scorer.calibration.monotone import LinearFit, Penalty, Problem
from hpedit.scorer.calibration.sample import Family, Model, Sample, Setting, bend
from hpedit.scorer.evaluation.statistics import FloatArray

_SHRINKAGES = (None, 1000.0, 300.0, 100.0, 30.0, 10.0)
_POOLINGS = (1000.0, 30.0, 5.0)
"""In edits: at 30, a task with 30 rated edits goes half of its own way."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Columns and their coefficients."""

    design: Design
    fit: LinearFit

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        """See `sample.Model`."""
        start, coefficients = self.fit.coefficients(tasks)
        return bend(start + (self.design.transform(answers) * coefficients).sum(axis=1))

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        return asdict(self)


def settings(sample: Sample) -> list[Setting]:
    """Curve, pooling and shrinkage; pooling means nothing with one task."""
    poolings = _POOLINGS if len(set(sample.tasks)) > 1 else _POOLINGS[:1]
    return [
        {"curved": curved, "pooling": pooling, "shrinkage": shrinkage}
        for curved, pooling, shrinkage in product((0.0, 1.0), poolings, _SHRINKAGES)
        if not (curved and shrinkage is None)
    ]


def fit(sample: Sample, chosen: Sequence[Setting]) -> list[Model]:
    """Fit each setting; those with equal columns share the normal equations."""
    prepared: dict[bool, tuple[Design, Problem]] = {}
    for curved in {bool(setting["curved"]) for setting in chosen}:
        design = fit_design(sample.answers, curved)
        columns, rising = design.transform(sample.answers), (*sample.rising, *[True] * design.ramps)
        prepared[curved] = design, Problem(columns, rising, sample.tasks, sample.target)
    models: list[Model] = []
    for setting in chosen:
        design, problem = prepared[bool(setting["curved"])]
        pooling = setting["pooling"] or 0.0
        models.append(LinearModel(design, problem.solve(Penalty(setting["shrinkage"], pooling))))
    return models


def read(data: Mapping[str, Any]) -> LinearModel:
    """Inverse of `LinearModel.to_json`."""
    fit = LinearFit(**{**data["fit"], "weights": tuple(data["fit"]["weights"])})
    return LinearModel(Design.from_json(data["design"]), fit)


FAMILY = Family(settings, fit, read)
