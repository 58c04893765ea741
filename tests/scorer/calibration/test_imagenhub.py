"""Nested cross-validation by photo on real people's ratings: what a fit is worth, and whom it trusts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hpedit.scorer.calibration.base_selection import folds
from hpedit.scorer.calibration.ensemble import fit_ensemble
from hpedit.scorer.calibration.judge_table import make_judge_table
from hpedit.scorer.tables.fit_tables import RatedTable, load_table
from hpedit.stats.bootstrap import FloatArray
from hpedit.stats.correlation import Resamples
from hpedit.stats.rater_agreement import mean_rating

pytestmark = pytest.mark.slow

JUDGES = ("gpt4o_0shot", "gemini_0shot", "llava_0shot")


@pytest.fixture(scope="module")
def table(imagenhub: Path) -> RatedTable:
    return load_table(imagenhub / "edits.csv", imagenhub / "ratings.csv", imagenhub / "scores.csv", JUDGES)


@pytest.fixture(scope="module")
def pooled(table: RatedTable) -> dict[tuple[int, ...], tuple[FloatArray, list[set[int]]]]:
    """For some combinations of judges: scores of every edit by fits without its photo, and who counted in each fold."""
    target, tasks, sources = mean_rating(table.ratings), list(table.tasks), list(table.sources)
    tables = [make_judge_table(own, tasks, target, sources, None, ()) for own in table.judges]
    wanted: list[tuple[int, ...]] = [(0,), (0, 1), (0, 1, 2)]
    result = {judges: (np.full(len(target), np.nan), list[set[int]]()) for judges in wanted}
    for train, test in folds(sources, np.arange(len(target))):
        fitted = [one.fit(train) for one in tables]
        own = [
            part.predict(one.answers.values[test], [""] * len(test))
            for one, (part, _, _) in zip(tables, fitted, strict=True)
        ]
        for judges, (scores, counted) in result.items():
            held = np.column_stack([fitted[judge][1] for judge in judges])
            ok = [fitted[judge][0].verdict == "ok" for judge in judges]
            ensemble = fit_ensemble(held, ok, target[train], [sources[row] for row in train.tolist()])
            columns = (np.column_stack([own[judge][number] for judge in judges]) for number in range(2))
            scores[test] = ensemble.predict(*columns)[0]
            weights = zip(ensemble.judges, ensemble.weights, strict=True)
            counted.append({judges[j] for j, weight in weights if weight > 0})
    return result


def agreement(table: RatedTable, scores: FloatArray) -> tuple[float, float]:
    """Pearson and pairwise accuracy on the edits that GPT-4o's own overall score exists for."""
    rows = np.flatnonzero(~np.isnan(table.overall()))
    draws = Resamples.of([table.sources[row] for row in rows.tolist()], resamples=0)
    found = draws.measure(scores[rows], mean_rating(table.ratings)[rows])
    return float(found["pearson"][0]), float(found["pairwise_accuracy"][0])


Pooled = dict[tuple[int, ...], tuple[FloatArray, Sequence[set[int]]]]


def test_gpt4o_agrees_with_people_on_photos_that_were_not_fitted(table: RatedTable, pooled: Pooled) -> None:
    pearson, pairwise = agreement(table, pooled[0,][0])
    raw = agreement(table, table.overall())
    assert pearson > max(0.67, raw[0] + 0.06)
    assert pairwise > max(0.868, raw[1] + 0.03)


def test_gemini_beside_gpt4o_is_not_worse_than_gpt4o_alone(table: RatedTable, pooled: Pooled) -> None:
    both, alone = agreement(table, pooled[0, 1][0]), agreement(table, pooled[0,][0])
    assert both[0] > alone[0] - 0.002
    assert both[1] > alone[1] - 0.01


def test_llava_gets_no_weight_beside_others(table: RatedTable, pooled: Pooled) -> None:
    scores, counted = pooled[0, 1, 2]
    assert all(2 not in own for own in counted)
    assert agreement(table, scores)[0] > agreement(table, pooled[0,][0])[0] - 0.002
