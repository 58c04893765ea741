"""Model selection by cross-validation over photos: one family of calibration models, or the mean of several.

Photos are dealt into folds by a hash of their names, so that the folds depend neither on the order of the rows nor on
a random state, and all edits of one photo are on one side. Within the rows it is given, `select_base` tunes each family
and takes the one, or the plain mean of some, that predicts best for photos it was not fitted on. A plain mean, since
weights that were fitted too did worse on real people's ratings, as they often do (Stock & Watson 2004).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.stats import norm, t

from hpedit.scorer.calibration import linear, ordinal, trees
from hpedit.scorer.calibration.calibration import BaseScore, Setting
from hpedit.scorer.calibration.imputation import fit_imputation
from hpedit.scorer.calibration.sample import Family, RatedSample
from hpedit.stats.bootstrap import FloatArray, IntArray, source_index

FOLDS = 5
SIMPLER = 0.99
"""A less simple setting must lower the squared error by 1 % to be taken, and so must one family against a mean of
several: below that it is the folds' noise."""

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {"linear": linear.FAMILY, "ordinal": ordinal.FAMILY, "trees": trees.FAMILY}
)
"""From the simplest to the most flexible."""

CANDIDATES = (*((name,) for name in FAMILIES), ("linear", "trees"), ("ordinal", "trees"))
"""Each family alone, and means of a line with trees; linear and ordinal see the same line and would err alike."""


def source_hash(source: str) -> str:
    """First 16 hex digits of the SHA-256 of a photo's id: tells a photo seen in fitting without naming it."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def folds(sources: Sequence[str], rows: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Cross-validation folds by photo: (train, test) rows; every photo of ``rows`` is in exactly one test part."""
    names, index = source_index([sources[row] for row in rows])
    order = np.argsort([source_hash(name) for name in names], kind="stable")
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = np.arange(len(names)) % FOLDS
    member = fold[index]
    return [(rows[member != k], rows[member == k]) for k in range(min(FOLDS, len(names)))]


@dataclass(frozen=True, slots=True)
class SelectedBase:
    """The base score model that was chosen on some rows."""

    base: BaseScore
    singles: dict[str, BaseScore]
    """Each family alone, tuned; empty unless asked for."""
    held_out: FloatArray
    """(rows,) what the chosen model, fitted without the photo of each row, predicts for it."""


def select_base(data: RatedSample, rows: IntArray, *, singles: bool = False) -> SelectedBase:
    """Tune and choose the base score model by cross-validation within ``rows``, then fit it on all of them.

    Args:
        data: rated edits.
        rows: those to use; each has at least one answer.
        singles: also fit what was not chosen, to compare.
    """
    target = data.target[rows]
    settings, held_out = _tune(data, rows)
    means = {names: np.mean([held_out[name] for name in names], axis=0) for names in CANDIDATES}
    errors = {names: float(((mean - target) ** 2).sum()) for names, mean in means.items()}
    # A mean hedges against the luck of the folds, so that one family alone has to be clearly better.
    chosen = min(errors, key=lambda names: errors[names] / (SIMPLER if len(names) == 1 else 1.0))
    imputation = fit_imputation(data.answers[rows])
    sample = data.imputed(rows, imputation)
    needed = tuple(FAMILIES) if singles else chosen
    models = {name: FAMILIES[name].fit(sample, [settings[name]])[0] for name in needed}

    def base(names: Sequence[str]) -> BaseScore:
        return BaseScore(imputation, {name: settings[name] for name in names}, {name: models[name] for name in names})

    every = {name: base([name]) for name in FAMILIES} if singles else {}
    return SelectedBase(base(chosen), every, means[chosen])


def _tune(data: RatedSample, rows: IntArray) -> tuple[dict[str, Setting], dict[str, FloatArray]]:
    """Best setting of each family, and its predictions (rows,) for photos it was not fitted on."""
    every = data.imputed(rows, fit_imputation(data.answers[rows]))
    grids = {name: family.grid(every) for name, family in FAMILIES.items()}
    tables = {name: np.full((len(rows), len(grid)), np.nan) for name, grid in grids.items()}
    places = np.arange(len(rows))
    names = [data.sources[row] for row in rows.tolist()]
    for train, test in folds(names, places):
        imputation = fit_imputation(data.answers[rows[train]])
        inside, outside = data.imputed(rows[train], imputation), data.imputed(rows[test], imputation)
        for name, family in FAMILIES.items():
            for column, model in enumerate(family.fit(inside, grids[name])):
                tables[name][test, column] = model.predict(outside.answers, outside.tasks)
    settings, held_out = {}, {}
    for name, table in tables.items():
        errors = ((table - data.target[rows][:, None]) ** 2).sum(axis=0)
        column = _simplest(errors.tolist())
        settings[name], held_out[name] = grids[name][column], table[:, column]
    return settings, held_out


def _simplest(errors: Sequence[float]) -> int:
    """Position of the first error that none of the later ones lowers by more than the margin."""
    chosen = 0
    for position, error in enumerate(errors):
        if error < SIMPLER * errors[chosen]:
            chosen = position
    return chosen


def fewest(errors: Sequence[FloatArray], sources: Sequence[str], tried: Sequence[int]) -> int:
    """One-standard-error rule: the first of nested models that is not clearly worse than the best of them.

    "Clearly" is a difference in mean squared error of more than one standard error of that difference, photos being
    the unit. One standard error is a chance of error of 16 %; where the best of several additions was taken, that
    chance is shared among all that were tried, so that trying many useless ones does not make one look useful.

    Args:
        errors: for each model, from the smallest, its squared error on each edit (n,), out of sample.
        sources: (n,) photo ids.
        tried: for each model, how many additions were tried to find it (the first one's is not used).

    Returns:
        Position of the model to take.
    """
    best = int(np.argmin([error.mean() for error in errors]))
    for position in range(best):
        gain = errors[position] - errors[best]
        if gain.mean() <= _bar(gain, sources, max(tried[position + 1 : best + 1])):
            return position
    return best


def _bar(gain: FloatArray, sources: Sequence[str], tried: int) -> float:
    """Mean gain that the best of ``tried`` useless additions exceeds with a chance of 16 %."""
    _, index = source_index(sources)
    sums = np.bincount(index, gain - gain.mean())
    if len(sums) < 2:
        return float("inf")
    error = np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(gain)
    return float(error * t.isf(norm.sf(1.0) / tried, len(sums) - 1))
