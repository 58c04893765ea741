"""Measures of inter-rater agreement with bootstrap intervals by source: Krippendorff's alpha, rater with rater or rest.

Ratings are (n, r): one row an edit, one column a rater, NaN = not rated. Votes are counts (n, 4): one row a pair of
edits, one column for each of the four answers. NaN if undefined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

import krippendorff
import numpy as np
from numpy.typing import ArrayLike

from hpedit.stats.bootstrap import Estimate, FloatArray, Statistic, bootstrap_by_source, source_index, weighted_spearman
from hpedit.stats.correlation import safe_ratio
from hpedit.stats.rater_agreement import human_ceiling, mean_rating

RESAMPLES, FEWEST = 1000, 200
_CELLS = 4_000_000
"""Resamples times rows, proportional to run time: a larger table gets fewer resamples, down to `FEWEST`."""
MAX_EDITS = 1500
"""Edits sampled for the pairs of any two; a million pairs per rater estimate as well as all."""

Level = Literal["ordinal", "nominal"]


def score_figures(ratings: FloatArray, sources: Sequence[str], margin: float, seed: int) -> dict[str, Estimate]:
    """All agreement measures of scores on one axis.

    Args:
        ratings: (n, r).
        sources: (n,) photo ids.
        margin: how far apart the others' means of any two edits must be for the pair to count; 0 = not equal.
        seed: of the bootstrap.

    Returns:
        alpha: Krippendorff's, ordinal. rest_spearman, rest_pearson: one rater with the mean of the others, averaged
        over raters. rest_pairwise: pairwise accuracy on two edits of one photo; rest_pairwise_any: on any two edits
        whose means differ by ``margin``; a rater's tie counts half. pair_spearman: two raters, averaged over pairs of
        raters by the edits they share. pair_spearman_pooled: all pairs of their scores at once.
    """
    rest = human_ceiling(ratings, sources, seed, RESAMPLES)
    levels = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == levels).sum(axis=1).astype(np.float64)
    # A single edit has no order, however many raters scored it.
    pairs, pair_sources = rater_pairs(ratings if len(ratings) > 1 else ratings[:0], sources)
    pooled = np.concatenate([pairs[:, 1:], pairs[:, :0:-1]])
    return {
        "alpha": alpha_with_interval(counts, sources, "ordinal", seed),
        "rest_spearman": rest["spearman"],
        "rest_pearson": rest["pearson"],
        "rest_pairwise": rest["pairwise_accuracy"],
        "rest_pairwise_any": any_pair_accuracy(ratings, sources, margin, seed),
        "pair_spearman": bootstrap_capped(pairs, pair_sources, mean_over_groups(weighted_spearman), seed),
        "pair_spearman_pooled": bootstrap_capped(pooled, pair_sources * 2, weighted_spearman, seed),
    }


def alpha_with_interval(counts: FloatArray, sources: Sequence[str], level: Level, seed: int) -> Estimate:
    """Krippendorff's alpha with its interval: 1 is perfect agreement, 0 is chance; NaN if all answers are equal.

    Args:
        counts: (n, v) how often each value was given to each item, values in ascending order.
        sources: (n,) photo ids.
        level: "ordinal" for scores, "nominal" for votes.
        seed: of the bootstrap.
    """
    paired = counts.sum(axis=1) >= 2
    comparable = counts[paired]
    names = [source for source, kept in zip(sources, paired, strict=True) if kept]
    if ((comparable > 0).any(axis=0)).sum() < 2:
        return Estimate(math.nan, math.nan, math.nan, len(comparable), len(set(names)))
    value = float(krippendorff.alpha(value_counts=comparable, level_of_measurement=level))
    return replace(bootstrap_capped(comparable, names, alpha_statistic(level), seed), value=value)


def alpha_statistic(level: Level) -> Statistic:
    """Vectorised Krippendorff's alpha of counts (n, v) under bootstrap weights (B, n): the library takes one at a time.

    With n_v the comparable answers of value v, the ordinal distance of two values is the difference of their mid-ranks
    cumsum(n)_v - n_v / 2 (Krippendorff 2011), so that observed and expected disagreement are sums of squares.
    """

    def statistic(counts: FloatArray, weights: FloatArray) -> FloatArray:
        raters = counts.sum(axis=1)
        totals = weights @ counts
        n = totals.sum(axis=1)
        if level == "nominal":
            equal = weights @ ((counts * (counts - 1)).sum(axis=1) / (raters - 1))
            observed, expected = n - equal, (n**2 - (totals**2).sum(axis=1)) / np.maximum(n - 1, 1)
        else:
            rank = np.cumsum(totals, axis=1) - totals / 2
            squares = (totals * rank**2).sum(axis=1)
            within = ((rank @ counts.T) ** 2 - rank**2 @ counts.T) / (raters - 1)
            observed = squares - (weights * within).sum(axis=1)
            expected = (n * squares - (totals * rank).sum(axis=1) ** 2) / np.maximum(n - 1, 1)
        # Below this expected disagreement is rounding error: all values are equal.
        return 1 - safe_ratio(observed, np.where(expected > 1e-9, expected, 0.0))

    return statistic


def bootstrap_capped(values: ArrayLike, sources: Sequence[str], statistic: Statistic, seed: int) -> Estimate:
    """Bootstrap interval by source, with fewer resamples (at least `FEWEST`) for a large table."""
    resamples = min(RESAMPLES, max(FEWEST, _CELLS // max(1, len(sources))))
    return bootstrap_by_source(values, sources, statistic, seed, resamples)


def mean_over_groups(statistic: Statistic) -> Statistic:
    """Turn a statistic of [x, y] into its mean over groups of [group, x, y], weighted by rows, NaN groups left out."""

    def lifted(values: FloatArray, weights: FloatArray) -> FloatArray:
        total, mass = np.zeros(len(weights)), np.zeros(len(weights))
        for group in np.unique(values[:, 0]):
            own = values[:, 0] == group
            result, share = statistic(values[own, 1:], weights[:, own]), weights[:, own].sum(axis=1)
            share[np.isnan(result)] = 0.0
            total += np.nan_to_num(result) * share
            mass += share
        return safe_ratio(total, mass)

    return lifted


def rater_pairs(ratings: FloatArray, sources: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """Scores of each pair of raters on the edits both rated: (m, 3) of [number of the pair, x, y], and m source ids."""
    rows: list[FloatArray] = []
    names: list[str] = []
    for number, (first, second) in enumerate(combinations(range(ratings.shape[1]), 2)):
        both = np.flatnonzero(~np.isnan(ratings[:, first]) & ~np.isnan(ratings[:, second])).tolist()
        rows.append(np.column_stack([np.full(len(both), number), ratings[both][:, [first, second]]]))
        names += [sources[edit] for edit in both]
    return np.concatenate(rows) if rows else np.empty((0, 3)), names


def any_pair_accuracy(ratings: FloatArray, sources: Sequence[str], margin: float, seed: int) -> Estimate:
    """Pairwise accuracy: share of pairs of any two edits that a rater orders as the others' mean does.

    Pooled over raters. In a resample a pair counts as often as its two sources were drawn together.
    """
    if len(ratings) > MAX_EDITS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(ratings), MAX_EDITS, replace=False)).tolist()
        ratings, sources = ratings[drawn], [sources[edit] for edit in drawn]
    names, index = source_index(sources)
    right, all_pairs = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for rater in range(ratings.shape[1]):
        others = mean_rating(np.delete(ratings, rater, axis=1))
        edits = np.flatnonzero(~np.isnan(ratings[:, rater]) & ~np.isnan(others))
        first, second = (edits[side] for side in np.triu_indices(len(edits), k=1))
        wanted = others[first] - others[second]
        apart = (np.abs(wanted) >= margin - 1e-9) & (wanted != 0)
        first, second = first[apart], second[apart]
        given = np.sign(ratings[first, rater] - ratings[second, rater])
        where = (index[first], index[second])
        np.add.at(right, where, (np.sign(wanted[apart]) * given + 1) / 2)
        np.add.at(all_pairs, where, 1.0)

    def statistic(_: FloatArray, weights: FloatArray) -> FloatArray:
        return safe_ratio(((weights @ right) * weights).sum(axis=1), ((weights @ all_pairs) * weights).sum(axis=1))

    return replace(bootstrap_capped(np.arange(len(names), dtype=float), names, statistic, seed), n=int(all_pairs.sum()))
