"""Fit family "trees": gradient-boosted shallow trees that may only rise with what must count in favour.

The score is 5 sigmoid(start of the task + sum of trees), fitted by Newton steps on the fractional log likelihood of the
mean rating (Friedman 2001; Papke & Wooldridge 1996). A task starts from its mean rating, pulled towards that of all.
Trees find by themselves how answers act together (an edit must succeed in all of them), so that answers which are made
of others are left out. Large leaves keep them from learning single photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit

from hpedit.records import MAX_SCORE
from hpedit.scorer.calibration.calibration import Setting
from hpedit.scorer.calibration.fitted_models import TREE_DEPTH, Model, Tree, TreesModel
from hpedit.scorer.calibration.sample import Family, RatedSample
from hpedit.stats.bootstrap import FloatArray

_COUNT, _RATE = 30, 0.1
_LEAF = 40
"""Least edits in a leaf; fewer with few edits, see `fit_trees`."""
_POOLING = 20.0
"""Edits at which a task starts halfway between its own mean and that of all."""
_FLOOR = 1e-3
"""Least variance of a rating in a Newton step, in units of the scale squared."""


def trees_grid(_: RatedSample) -> list[Setting]:
    """One setting: in repeated cross-validation on real people's ratings nothing gained by more."""
    return [{"depth": TREE_DEPTH}]


def fit_trees(sample: RatedSample, chosen: Sequence[Setting]) -> list[Model]:
    """Fit the one setting there is."""
    from sklearn.tree import DecisionTreeRegressor

    columns = [number for number, derived in enumerate(sample.derived) if not derived] or [0]
    answers, share = sample.answers[:, columns], sample.target / MAX_SCORE
    start, starts = _starts(share, sample.tasks)
    line = np.array([starts[task] for task in sample.tasks])
    single = np.ascontiguousarray(answers, dtype=np.float32)  # what scikit-learn would make of it for every tree
    leaf = min(_LEAF, max(5, len(share) // 12))
    trees = []
    for _ in range(_COUNT):
        mean = expit(line)
        weight = np.maximum(mean * (1 - mean), _FLOOR)
        grown = DecisionTreeRegressor(
            max_depth=TREE_DEPTH,
            min_samples_leaf=leaf,
            monotonic_cst=[int(sample.rising[column]) for column in columns],
            random_state=0,
        ).fit(single, ((share - mean) / weight)[:, None], sample_weight=weight, check_input=False)
        tree = _read_grown(grown.tree_)
        trees.append(tree)
        line = line + tree.predict(answers)
    return [TreesModel(tuple(columns), start, starts, tuple(trees)) for _ in chosen]


def _starts(share: FloatArray, tasks: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Logit of the mean rating over all edits and, pulled towards it, of each task."""
    overall = float(np.clip(share.mean(), 0.01, 0.99))
    names = np.array(tasks)
    starts = {}
    for task in sorted(set(tasks)):
        own = share[names == task]
        starts[task] = float(logit((own.sum() + _POOLING * overall) / (len(own) + _POOLING)))
    return float(logit(overall)), starts


def _read_grown(grown: Any) -> Tree:
    """Arrays of a fitted scikit-learn tree, its values times the learning rate."""
    return Tree(
        tuple(max(-1, feature) for feature in grown.feature.tolist()),
        tuple(grown.threshold.tolist()),
        tuple(grown.children_left.tolist()),
        tuple(grown.children_right.tolist()),
        tuple((_RATE * grown.value[:, 0, 0]).tolist()),
    )


FAMILY = Family(trees_grid, fit_trees)
