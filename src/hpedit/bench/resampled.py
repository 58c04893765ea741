"""Means of many columns with intervals by source, from one set of resamples.

The same figures as `hpedit.scorer.evaluation.statistics.mean_ci` of each column; drawing the resamples is most of that
work, and a comparison of four models has a dozen columns over the same cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hpedit.scorer.evaluation.statistics import RESAMPLES, Estimate, FloatArray, source_index


def mean_intervals(columns: Sequence[FloatArray], sources: Sequence[str], seed: int = 0) -> list[Estimate]:
    """Mean of each column with its 95 % percentile interval over resampled sources.

    Args:
        columns: each (n,), n > 0, without NaN.
        sources: (n,) source id of each row.
        seed: of the resampling.
    """
    table = np.stack(columns, axis=1)
    names, index = source_index(sources)
    means = table.mean(axis=0)
    if len(names) < 2:
        return [Estimate(float(mean), math.nan, math.nan, len(table), len(names)) for mean in means]
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, index, table)
    sizes = np.bincount(index, minlength=len(names)).astype(np.float64)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=RESAMPLES).astype(np.float64)
    results = (counts @ sums) / (counts @ sizes)[:, None]
    lows, highs = np.percentile(results, [2.5, 97.5], axis=0)
    return [
        Estimate(float(mean), float(low), float(high), len(table), len(names))
        for mean, low, high in zip(means, lows, highs, strict=True)
    ]
