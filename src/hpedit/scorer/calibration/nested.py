"""The outer round of cross-validation: what the whole procedure, choices included, says of photos it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpedit.scorer.calibration.blend import fit_blend
from hpedit.scorer.calibration.parts import JudgeTable
from hpedit.scorer.calibration.selection import folds
from hpedit.scorer.evaluation.statistics import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Nested:
    """Predictions for every edit by models that were chosen and fitted without its photo; NaN = unscorable."""

    scores: FloatArray
    """(n,)"""
    parts: FloatArray
    """(n, j) of each judge."""
    singles: list[dict[str, FloatArray]]
    """For each judge, (n,) by family alone."""
    chosen: list[list[str]]
    """For each judge, the families chosen in each fold."""


def nested_scores(tables: Sequence[JudgeTable], rows: IntArray) -> Nested:
    """Choose and fit anew for each fold of ``rows``; tables hold the same edits, one a judge."""
    data = tables[0].data
    parts = np.full((len(data.target), len(tables)), np.nan)
    result = Nested(np.full(len(data.target), np.nan), parts, [{} for _ in tables], [[] for _ in tables])
    for train, test in folds(data.sources, rows):
        tasks = [data.tasks[row] for row in test.tolist()]
        fitted = [table.fit(train, singles=True) for table in tables]
        own = [
            part.predict(table.answers.values[test], tasks) for table, (part, _, _) in zip(tables, fitted, strict=True)
        ]
        scores, variances = (np.column_stack([pair[number] for pair in own]) for number in range(2))
        held = np.column_stack([held_out for _, held_out, _ in fitted])
        names = [data.sources[row] for row in train.tolist()]
        blend = fit_blend(held, [part.verdict == "ok" for part, _, _ in fitted], data.target[train], names)
        parts[test], result.scores[test] = scores, blend.predict(scores, variances)[0]
        for number, (table, (_, _, selected)) in enumerate(zip(tables, fitted, strict=True)):
            result.chosen[number].append(selected.base.name)
            for name, base in selected.singles.items():
                column = result.singles[number].setdefault(name, np.full(len(data.target), np.nan))
                column[test] = base.predict(table.data.answers[test], tasks)[0]
    return result
