"""Agreement between raters: the human ceiling for any scorer, and Krippendorff's alpha.

The ceiling compares each rater with the mean of the others on the same edits, in the measures of a scorer. Ratings are
an (n, r) table, one row per edit, one column per rater, NaN = did not rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpedit.stats.bootstrap import RESAMPLES, Estimate, FloatArray, IntArray
from hpedit.stats.correlation import MEASURES, Resamples, count_pairs, mean_over, pairwise_shares


def mean_rating(ratings: FloatArray) -> FloatArray:
    """Mean (n,) over the raters of each edit; NaN for an edit that nobody rated.

    Rounded to twelve decimals, so that the same ratings in another order of raters give the same mean, and tie.
    """
    known = ~np.isnan(ratings)
    total, count = np.where(known, ratings, 0.0).sum(axis=1), known.sum(axis=1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(np.round(mean, 12), dtype=np.float64)


def human_ceiling(
    ratings: FloatArray, sources: Sequence[str], seed: int = 0, n: int = RESAMPLES
) -> dict[str, Estimate]:
    """Agreement of one rater with the mean of the others, averaged over raters by the number of their ratings.

    Edits with fewer than two ratings are left out; with one rater every value is NaN. Pairs of one photo's edits are
    pooled over raters.

    Returns:
        Estimates under the names of `correlation.MEASURES`, "mae", "pairwise_untied" and "pairwise_ties_wrong"; their n
        counts the ratings compared.
    """
    compared = np.flatnonzero((~np.isnan(ratings)).sum(axis=1) >= 2)
    ratings = ratings[compared]
    draws = Resamples.of([sources[row] for row in compared.tolist()], seed, n)
    parts, masses = [], []
    pairs = np.zeros((len(draws.counts), 3))
    for rater in np.flatnonzero(~np.isnan(ratings).all(axis=0)).tolist():
        rows, own, others = _against_others(ratings, rater)
        part = draws.part(rows)
        parts.append(part.correlations(own, others))
        masses.append(part.sums(np.ones((len(rows), 1)))[:, 0])
        pairs += part.sums(count_pairs(own, others, part.index)[:, :3])
    nothing = np.full(len(draws.counts), np.nan)
    measured = dict.fromkeys((*MEASURES, "mae"), nothing) | mean_over(parts, masses) | pairwise_shares(pairs)
    entered = int((~np.isnan(ratings)).sum())
    return {name: draws.estimate(values, entered) for name, values in measured.items()}


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


def _against_others(ratings: FloatArray, rater: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Rows (m,) that ``rater`` rated, that rating, and the mean of the others, who rated it too."""
    rows = np.flatnonzero(~np.isnan(ratings[:, rater]))
    return rows, ratings[rows, rater], mean_rating(np.delete(ratings[rows], rater, axis=1))
