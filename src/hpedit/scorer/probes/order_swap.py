"""Position bias of a judge: how much the order of source and edit in the prompt changes its scores.

The base prompt is asked in both orders. A pair of edits flips if the orders disagree on which is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hpedit.judges.protocol import Judge
from hpedit.records import Case, Edit
from hpedit.scorer.prompts import Order, score_question
from hpedit.stats.bootstrap import FloatArray, bootstrap_by_source, ratio_of_sums
from hpedit.stats.cluster_mean import mean_ci

MAX_FLIP = 0.2
"""Flip rate above which a probe warns: one human rater orders 79 to 85 % of pairs as the others do (ImagenHub), so
above it the order of the pictures moves a judge as much as a change of rater."""
NOT_DEFINED = "the scorer has no judge that could be asked in another order"
CHUNK = 64
"""Edits asked about at a time."""


def order_swap_report(
    judge: Judge | None, cases: Sequence[Case], edits: Sequence[Edit], max_flip: float = MAX_FLIP, seed: int = 0
) -> dict[str, Any]:
    """Measure a judge's position bias: flip rate and score difference as JSON, with 95 % intervals by source.

    Args:
        judge: None for a scorer of tables, for which this is not defined.
        cases: `cases[i]` belongs to `edits[i]`.
        edits: Those of one source are compared with each other; where no source has two, all with all.

    Returns:
        defined, and why not; or flip_rate (of the pairs that the first order tells apart, those that the other orders
        the other way; a tie there is half a flip), difference (mean absolute, in points), edits, unreadable (in either
        order, left out), pairs, pairs_of ("one source" or "all edits"), max_flip and within (None without a pair).
    """
    if judge is None:
        return {"defined": False, "reason": NOT_DEFINED}
    scores = np.column_stack([_expected(judge, cases, edits, order) for order in ("source first", "edit first")])
    known = ~np.isnan(scores).any(axis=1)
    kept, sources = scores[known], [case.source_id for case, there in zip(cases, known, strict=True) if there]
    rows, names, pairs_of = _pairs(kept, sources)
    flip = bootstrap_by_source(rows, names, ratio_of_sums, seed)
    return {
        "defined": True,
        "edits": len(kept),
        "unreadable": int((~known).sum()),
        "pairs": int(rows[:, 1].sum()),
        "pairs_of": pairs_of,
        "flip_rate": flip.as_dict(),
        "difference": mean_ci(np.abs(kept[:, 0] - kept[:, 1]), sources).as_dict(),
        "max_flip": max_flip,
        "within": None if np.isnan(flip.value) else flip.value <= max_flip,
    }


def _expected(judge: Judge, cases: Sequence[Case], edits: Sequence[Edit], order: Order) -> list[float]:
    """The judge's raw scores, NaN where unreadable."""
    values: list[float] = []
    for start in range(0, len(edits), CHUNK):
        part = slice(start, start + CHUNK)
        questions = [
            score_question(case, edit.image, order) for case, edit in zip(cases[part], edits[part], strict=True)
        ]
        values += [np.nan if answer.expected is None else answer.expected for answer in judge.ask(questions)]
    return values


def _pairs(scores: FloatArray, sources: Sequence[str]) -> tuple[FloatArray, list[str], str]:
    """Rows [flips, pairs] of the pairs that the first order tells apart, the source of each row, and what was paired.

    If all edits are paired, each pair counts half in the row of either edit.
    """
    own = [(i, j) for i, j in combinations(range(len(sources)), 2) if sources[i] == sources[j]]
    if own:
        found = list(_flips(scores, own))
        return _table([row for _, row in found]), [sources[pair[0]] for pair, _ in found], "one source"
    rows = np.zeros((len(sources), 2))
    for (i, j), row in _flips(scores, list(combinations(range(len(sources)), 2))):
        rows[i] += np.array(row) / 2
        rows[j] += np.array(row) / 2
    return rows, list(sources), "all edits"


def _flips(
    scores: FloatArray, pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], tuple[float, float]]]:
    """(pair, (flips, 1)) of the pairs that the first order tells apart."""
    for i, j in pairs:
        first, second = np.sign(scores[i] - scores[j])
        if first != 0:
            yield (i, j), ((1 - first * second) / 2, 1.0)


def _table(rows: Sequence[tuple[float, float]]) -> FloatArray:
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
