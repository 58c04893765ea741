"""How well people agree with one another: the ceiling for any scorer, and Krippendorff's alpha.

The ceiling compares one rater with the mean of the others on the same edits, in the measures a scorer is held to. All
functions take ratings as an (n, r) table, one row an edit, one column a rater, NaN where that rater did not rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpedit.scorer.statistics import (
    RESAMPLES,
    Estimate,
    FloatArray,
    Statistic,
    bootstrap_by_source,
    pair_counts,
    ratio_of_sums,
    weighted_pearson,
    weighted_spearman,
)


def mean_rating(ratings: FloatArray) -> FloatArray:
    """Mean (n,) over the raters of each edit; NaN for an edit that nobody rated."""
    known = ~np.isnan(ratings)
    total, count = np.where(known, ratings, 0.0).sum(axis=1), known.sum(axis=1)
    mean: FloatArray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def human_ceiling(
    ratings: FloatArray, sources: Sequence[str], seed: int = 0, n: int = RESAMPLES
) -> dict[str, Estimate]:
    """Agreement of one rater with the mean of the others, averaged over raters by the number of their ratings.

    Edits with fewer than two ratings say nothing and are left out; with one rater every value is NaN.

    Returns:
        Estimates under "pearson", "spearman" and "pairwise_accuracy" (pairs of one photo's edits that the others' mean
        tells apart; a rater who does not gets half).
    """
    rows = [_against_others(ratings, rater) for rater in range(ratings.shape[1])]
    table = np.concatenate(
        [np.column_stack([np.full(len(edits), rater), values]) for rater, (edits, values) in enumerate(rows)]
    )
    names = [sources[edit] for edits, _ in rows for edit in edits]
    counts: list[FloatArray] = []
    counted: list[str] = []
    for edits, values in rows:
        pairs, of = pair_counts(values[:, 0], values[:, 1], [sources[edit] for edit in edits])
        counts.append(pairs)
        counted.extend(of)
    return {
        "pearson": bootstrap_by_source(table, names, _mean_over_raters(weighted_pearson), seed, n),
        "spearman": bootstrap_by_source(table, names, _mean_over_raters(weighted_spearman), seed, n),
        "pairwise_accuracy": bootstrap_by_source(np.concatenate(counts), counted, ratio_of_sums, seed, n),
    }


def krippendorff_alpha(ratings: FloatArray) -> float:
    """Krippendorff's alpha for interval data: 1 is perfect agreement, 0 is chance (Krippendorff 2004, chapter 11).

    NaN if no edit has two ratings or all comparable ratings are equal, where chance agreement is undefined.
    """
    comparable = ratings[(~np.isnan(ratings)).sum(axis=1) >= 2]
    values = comparable[~np.isnan(comparable)]
    if len(values) == 0 or np.ptp(values) == 0:
        return math.nan
    raters = (~np.isnan(comparable)).sum(axis=1)
    within = np.nansum((comparable - mean_rating(comparable)[:, None]) ** 2, axis=1) * raters / (raters - 1)
    between = ((values - values.mean()) ** 2).sum() * len(values) / (len(values) - 1)
    return float(1 - within.sum() / between)


def _against_others(ratings: FloatArray, rater: int) -> tuple[list[int], FloatArray]:
    """Edits that ``rater`` and somebody else rated, and (m, 2) of [that rating, mean of the others]."""
    others = mean_rating(np.delete(ratings, rater, axis=1))
    edits = np.flatnonzero(~np.isnan(ratings[:, rater]) & ~np.isnan(others))
    return edits.tolist(), np.column_stack([ratings[edits, rater], others[edits]])


def _mean_over_raters(statistic: Statistic) -> Statistic:
    """Lift a statistic of two columns to three of [rater, x, y]; raters for whom it is undefined are left out."""

    def lifted(values: FloatArray, weights: FloatArray) -> FloatArray:
        total, mass = np.zeros(len(weights)), np.zeros(len(weights))
        for rater in np.unique(values[:, 0]):
            own = values[:, 0] == rater
            result, share = statistic(values[own, 1:], weights[:, own]), weights[:, own].sum(axis=1)
            share[np.isnan(result)] = 0.0
            total += np.nan_to_num(result) * share
            mass += share
        mean = np.full(len(weights), np.nan)
        np.divide(total, mass, out=mean, where=mass > 0)
        return mean

    return lifted
