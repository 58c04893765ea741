"""Kendall's tau-b (Kendall 1945) of a table and of its resamples by source, fast enough to put an interval on it.

tau-b = N / sqrt(X Y), where N sums sign(x_i - x_j) sign(y_i - y_j) over the pairs, and X and Y count the pairs that x
and y tell apart. All three are quadratic forms in the number of times w_s that each source is drawn, so they are
summed once by pair of sources, and a resample costs one product w K w. That takes O(n^2) once, which is done for up to
`EXACT` pairs. A larger table takes the first-order term of the same forms, sum_s (2 w_s - 1) k_s, where k_s is the sum
over the pairs that source s is part of; all k come from O(n log n) dominance counts. The value itself is exact both
ways; the intervals differ by a term that shrinks with the number of sources.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpedit.stats.bootstrap import FloatArray, IntArray

EXACT = 640_000
"""Pairs (ordered, with themselves) up to which they are compared one by one: a hundred edits of each of eight tasks."""

_BLOCK = 1_000_000
"""Pairs held at once."""


def kendall_tau_b(x: FloatArray, y: FloatArray, index: IntArray, counts: FloatArray) -> FloatArray:
    """Tau-b (R,) of each resample; NaN where a side does not vary.

    Args:
        x: (n,) scores, no NaN.
        y: (n,) what they are compared with, no NaN.
        index: (n,) source of each, a column of ``counts``.
        counts: (R, S) times each source is drawn; a row of ones gives tau-b of the table as it is.
    """
    if len(x) == 0:
        return np.full(len(counts), np.nan)
    present, index = np.unique(index, return_inverse=True)
    drawn = counts[:, present]
    forms = _pairwise(x, y, index, drawn) if len(x) ** 2 <= EXACT else _first_order(x, y, index, drawn)
    agreeing, apart_x, apart_y = forms
    known = (apart_x > 0) & (apart_y > 0)
    product = np.sqrt(np.where(known, apart_x * apart_y, 1.0))
    return np.where(known, np.clip(agreeing / product, -1.0, 1.0), np.nan)


def dominated(x: FloatArray, y: FloatArray) -> IntArray:
    """For each i the number (n,) of j with x_j < x_i and y_j < y_i, in O(n log n) by a wavelet tree over y's order."""
    n = len(x)
    order = np.argsort(x, kind="stable")
    right = np.searchsorted(x[order], x, side="left")
    rank = np.empty(n, dtype=np.int64)
    by_y = np.argsort(y, kind="stable")
    rank[by_y] = np.arange(n)
    bound = np.searchsorted(y[by_y], y, side="left")
    sequence, left = rank[order], np.zeros(n, dtype=np.int64)
    count = np.zeros(n, dtype=np.int64)
    for level in reversed(range(n.bit_length())):
        is_zero = (sequence >> level) & 1 == 0
        zeros = np.concatenate([[0], np.cumsum(is_zero)])
        up = (bound >> level) & 1 == 1
        before_left, before_right = zeros[left], zeros[right]
        count += np.where(up, before_right - before_left, 0)
        left = np.where(up, zeros[-1] + left - before_left, before_left)
        right = np.where(up, zeros[-1] + right - before_right, before_right)
        sequence = np.concatenate([sequence[is_zero], sequence[~is_zero]])
    return count


def _pairwise(x: FloatArray, y: FloatArray, index: IntArray, drawn: FloatArray) -> tuple[FloatArray, ...]:
    """N, X and Y of each resample from sums by pair of sources."""
    order = np.argsort(index, kind="stable")
    rank_x, rank_y, index = _ranks(x[order]), _ranks(y[order]), index[order]
    starts = np.searchsorted(index, np.arange(drawn.shape[1]))
    sums = np.zeros((3, drawn.shape[1], drawn.shape[1]))
    step = max(1, _BLOCK // len(x))
    for first in range(0, len(x), step):
        rows = slice(first, first + step)
        side_x, side_y = np.sign(rank_x[rows, None] - rank_x), np.sign(rank_y[rows, None] - rank_y)
        sources, begins = np.unique(index[rows], return_index=True)
        for form, pairs in zip(sums, (side_x * side_y, side_x != 0, side_y != 0), strict=True):
            by_column = np.add.reduceat(pairs, starts, axis=1, dtype=np.float64)
            form[sources] += np.add.reduceat(by_column, begins, axis=0)
    return tuple(np.einsum("rs,rs->r", drawn @ form, drawn) for form in sums)


def _first_order(x: FloatArray, y: FloatArray, index: IntArray, drawn: FloatArray) -> tuple[FloatArray, ...]:
    """N, X and Y of each resample from sums by source."""
    agreeing = dominated(x, y) + dominated(-x, -y) - dominated(x, -y) - dominated(-x, y)
    parts = (agreeing, len(x) - _frequency(x), len(x) - _frequency(y))
    weights = 2 * drawn - 1
    return tuple(weights @ np.bincount(index, part, drawn.shape[1]) for part in parts)


def _ranks(values: FloatArray) -> NDArray[np.int32]:
    """Dense ranks; comparing them is comparing the values."""
    ranks: NDArray[np.int32] = np.unique(values, return_inverse=True)[1].astype(np.int32)
    return ranks


def _frequency(values: FloatArray) -> IntArray:
    """How often each value (n,) is there."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequency: IntArray = counts[inverse]
    return frequency
