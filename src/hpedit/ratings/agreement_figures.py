"""The figures of agreement among people, each with its interval by source; NaN where undefined.

Ratings are (n, r): a row an edit, a column a rater, NaN = not rated. Votes are counted as (n, 4): a row a pair of
edits, a column one of the four answers, which raters gave it how often.
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

from hpedit.stats.bootstrap import (
    Estimate,
    FloatArray,
    Statistic,
    bootstrap_by_source,
    source_index,
    weighted_spearman,
)
from hpedit.stats.rater_agreement import human_ceiling, mean_rating

RESAMPLES, FEWEST = 1000, 200
_CELLS = 4_000_000
"""Resamples times rows, what time is spent on: a larger table gets fewer resamples, `FEWEST` at least."""
MAX_EDITS = 1500
"""Edits drawn for the pairs of any two; a million pairs a rater are as good as all."""

Level = Literal["ordinal", "nominal"]


def score_figures(ratings: FloatArray, sources: Sequence[str], margin: float, seed: int) -> dict[str, Estimate]:
    """Everything that is said of scores on one axis.

    Args:
        ratings: (n, r).
        sources: (n,) photo ids.
        margin: by how much the others' means must differ for a pair of any two edits to count; 0 = at all.
        seed: of the bootstrap.

    Returns:
        alpha: Krippendorff's, ordinal. rest_spearman, rest_pearson: one rater with the mean of the others, averaged
        over raters. rest_pairwise: the order of two edits of one photo; rest_pairwise_any: of any two edits whose means
        differ by ``margin``; a tie of the rater gets half. pair_spearman: two raters, averaged over the pairs of
        raters by the edits they share. pair_spearman_pooled: over all pairs of their scores at once.
    """
    rest = human_ceiling(ratings, sources, seed, RESAMPLES)
    levels = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == levels).sum(axis=1).astype(np.float64)
    # One edit has no order of edits, however many raters scored it.
    pairs, pair_sources = rater_pairs(ratings if len(ratings) > 1 else ratings[:0], sources)
    pooled = np.concatenate([pairs[:, 1:], pairs[:, :0:-1]])
    return {
        "alpha": alpha(counts, sources, "ordinal", seed),
        "rest_spearman": rest["spearman"],
        "rest_pearson": rest["pearson"],
        "rest_pairwise": rest["pairwise_accuracy"],
        "rest_pairwise_any": any_pair_accuracy(ratings, sources, margin, seed),
        "pair_spearman": bootstrap(pairs, pair_sources, mean_over_groups(weighted_spearman), seed),
        "pair_spearman_pooled": bootstrap(pooled, pair_sources * 2, weighted_spearman, seed),
    }


def alpha(counts: FloatArray, sources: Sequence[str], level: Level, seed: int) -> Estimate:
    """Krippendorff's alpha: 1 is perfect agreement, 0 is chance; NaN if all answers are equal or none can be compared.

    Args:
        counts: (n, v) times each value was given to each item, values in ascending order.
        sources: (n,).
        level: "ordinal" for scores, "nominal" for votes.
        seed: of the bootstrap.
    """
    paired = counts.sum(axis=1) >= 2
    comparable = counts[paired]
    names = [source for source, kept in zip(sources, paired, strict=True) if kept]
    if ((comparable > 0).any(axis=0)).sum() < 2:
        return Estimate(math.nan, math.nan, math.nan, len(comparable), len(set(names)))
    value = float(krippendorff.alpha(value_counts=comparable, level_of_measurement=level))
    return replace(bootstrap(comparable, names, alpha_statistic(level), seed), value=value)


def alpha_statistic(level: Level) -> Statistic:
    """Krippendorff's alpha of counts (n, v) under weights (B, n), for the bootstrap, which needs thousands of them.

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
        result = np.full(len(weights), np.nan)
        np.divide(observed, expected, out=result, where=expected > 1e-9)
        return 1 - result

    return statistic


def bootstrap(values: ArrayLike, sources: Sequence[str], statistic: Statistic, seed: int) -> Estimate:
    """`bootstrap_by_source` with as many resamples as a table of this size is given."""
    resamples = min(RESAMPLES, max(FEWEST, _CELLS // max(1, len(sources))))
    return bootstrap_by_source(values, sources, statistic, seed, resamples)


def mean_over_groups(statistic: Statistic) -> Statistic:
    """Lift a statistic of two columns to three of [group, x, y]: its mean over groups, by their numbers of rows.

    Groups for which it is undefined are left out.
    """

    def lifted(values: FloatArray, weights: FloatArray) -> FloatArray:
        total, mass = np.zeros(len(weights)), np.zeros(len(weights))
        for group in np.unique(values[:, 0]):
            own = values[:, 0] == group
            result, share = statistic(values[own, 1:], weights[:, own]), weights[:, own].sum(axis=1)
            share[np.isnan(result)] = 0.0
            total += np.nan_to_num(result) * share
            mass += share
        mean = np.full(len(weights), np.nan)
        np.divide(total, mass, out=mean, where=mass > 0)
        return mean

    return lifted


def rater_pairs(ratings: FloatArray, sources: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """Every two raters' scores of every edit both rated: (m, 3) of [number of the pair, x, y], and m source ids."""
    rows: list[FloatArray] = []
    names: list[str] = []
    for number, (first, second) in enumerate(combinations(range(ratings.shape[1]), 2)):
        both = np.flatnonzero(~np.isnan(ratings[:, first]) & ~np.isnan(ratings[:, second])).tolist()
        rows.append(np.column_stack([np.full(len(both), number), ratings[both][:, [first, second]]]))
        names += [sources[edit] for edit in both]
    return np.concatenate(rows) if rows else np.empty((0, 3)), names


def any_pair_accuracy(ratings: FloatArray, sources: Sequence[str], margin: float, seed: int) -> Estimate:
    """Share of pairs of any two edits that one rater orders as the others' mean does, averaged over raters' pairs.

    In a resample a pair counts as often as its two sources were drawn together.
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
        told = (np.abs(wanted) >= margin - 1e-9) & (wanted != 0)
        first, second = first[told], second[told]
        given = np.sign(ratings[first, rater] - ratings[second, rater])
        where = (index[first], index[second])
        np.add.at(right, where, (np.sign(wanted[told]) * given + 1) / 2)
        np.add.at(all_pairs, where, 1.0)

    def statistic(_: FloatArray, weights: FloatArray) -> FloatArray:
        total = ((weights @ all_pairs) * weights).sum(axis=1)
        share = np.full(len(weights), np.nan)
        np.divide(((weights @ right) * weights).sum(axis=1), total, out=share, where=total > 0)
        return share

    return replace(
        bootstrap(np.arange(len(names), dtype=float), names, statistic, seed),
        n=int(all_pairs.sum()),
    )
