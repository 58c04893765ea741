"""Choose a model by cross-validation over photos, and apply it.

Photos are dealt into folds by a hash of their names, so that the folds depend neither on the order of the rows nor on
a random state, and all edits of one photo are on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.design import Design, Gaps, fit_design
from hpedit.scorer.monotone import LinearFit, Penalty, Problem
from hpedit.scorer.statistics import FloatArray, IntArray, source_index

FOLDS = 5
SHRINKAGES = (None, 1000.0, 300.0, 100.0, 30.0, 10.0)
POOLINGS = (1000.0, 30.0, 5.0)
"""Candidates in edits: at 30, a task with 30 rated edits goes half of its own way."""
SIMPLER = 0.995
"""A less shrunken candidate must lower the squared error by 0.5 % to be taken: below that it is the folds' noise."""

_SOFT = 0.25
"""Width of the zone at both ends of the scale in which predictions are bent in rather than cut off, which would tie
edits that the judge tells apart."""


def source_hash(source: str) -> str:
    """First 16 hex digits of the SHA-256 of a photo's id: tells a photo seen in fitting without naming it."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to fit: how strongly to pull coefficients in, and whether the first feature's effect may be curved."""

    curved: bool
    penalty: Penalty


@dataclass(frozen=True, slots=True)
class RatedEdits:
    """Rated edits with at least one answer each."""

    features: FloatArray
    """(n, f), NaN = missing; the first is the judge's own overall score."""
    rising: tuple[bool, ...]
    """(f,) whether a feature may only count in favour."""
    tasks: list[str]
    target: FloatArray
    """(n,) mean rating, 0 to 5."""
    sources: list[str]

    def best(self, rows: IntArray) -> tuple[Design, Penalty, LinearFit]:
        """Choose the candidate by cross-validation within ``rows``, then fit it on all of them."""
        candidates = self._candidates(rows)
        errors = np.zeros(len(candidates))
        for train, test in self.folds(rows):
            for position, (design, fit) in enumerate(self._fits(train, candidates)):
                errors[position] += ((self._predict(design, fit, test) - self.target[test]) ** 2).sum()
        chosen = 0
        for position in range(1, len(candidates)):
            if errors[position] < SIMPLER * errors[chosen]:
                chosen = position
        design, fit = self._fits(rows, [candidates[chosen]])[0]
        return design, candidates[chosen].penalty, fit

    def nested_predictions(self) -> FloatArray:
        """Predict each edit (n,) by a model that was chosen and fitted without its photo."""
        result = np.full(len(self.target), np.nan)
        for train, test in self.folds(np.arange(len(self.target))):
            design, _, fit = self.best(train)
            result[test] = self._predict(design, fit, test)
        return result

    def folds(self, rows: IntArray) -> list[tuple[IntArray, IntArray]]:
        """List the (train, test) rows of each fold; every photo of ``rows`` is in one test part."""
        names, index = source_index([self.sources[row] for row in rows])
        order = np.argsort([source_hash(name) for name in names], kind="stable")
        fold = np.empty(len(names), dtype=np.int64)
        fold[order] = np.arange(len(names)) % FOLDS
        member = fold[index]
        return [(rows[member != k], rows[member == k]) for k in range(min(FOLDS, len(names)))]

    def _candidates(self, rows: IntArray) -> list[Candidate]:
        """All settings, from the simplest to the most flexible; pooling means nothing with one task."""
        poolings = POOLINGS if len({self.tasks[row] for row in rows}) > 1 else POOLINGS[:1]
        return [
            Candidate(curved, Penalty(shrinkage, pooling))
            for curved, pooling, shrinkage in product((False, True), poolings, SHRINKAGES)
            if not (curved and shrinkage is None)
        ]

    def _fits(self, rows: IntArray, candidates: Sequence[Candidate]) -> list[tuple[Design, LinearFit]]:
        """Fit each candidate on ``rows``."""
        tasks = [self.tasks[row] for row in rows]
        prepared: dict[bool, tuple[Design, Problem]] = {}
        for curved in {candidate.curved for candidate in candidates}:
            design = fit_design(self.features[rows], self.rising, curved)
            columns, _ = design.transform(self.features[rows])
            prepared[curved] = design, Problem(columns, design.rising, tasks, self.target[rows])
        return [
            (prepared[candidate.curved][0], prepared[candidate.curved][1].solve(candidate.penalty))
            for candidate in candidates
        ]

    def _predict(self, design: Design, fit: LinearFit, rows: IntArray) -> FloatArray:
        columns, gaps = design.transform(self.features[rows])
        return apply(fit, columns, gaps, [self.tasks[row] for row in rows])[0]


def apply(fit: LinearFit, columns: FloatArray, gaps: Gaps, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Mean (n,) bent into 0 to 5, and the variance (n,) that missing answers leave open."""
    start, coefficients = fit.coefficients(tasks)
    return _bend(start + (columns * coefficients).sum(axis=1)), gaps.variance(coefficients)


def _bend(values: FloatArray) -> FloatArray:
    """Strictly rising map of the line into the scale; the identity but for the last `_SOFT` at either end."""
    low, high = MIN_SCORE + _SOFT, MAX_SCORE - _SOFT
    # The clips only keep exp from overflowing on the side that is not selected.
    foot = MIN_SCORE + _SOFT * np.exp(np.minimum(values - low, 0.0) / _SOFT)
    head = MAX_SCORE - _SOFT * np.exp(np.minimum(high - values, 0.0) / _SOFT)
    return np.where(values < low, foot, np.where(values > high, head, values))
