"""How well scores rank the edits within a case, which is all that a reward is used for.

figures = within_cases(found, right, cases)  # {"spearman": ..., "pearson": ..., "pick_share": ...}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

LEAST_SPREAD = 0.02
"""Cases whose true scores have a standard deviation below this have no order to find and are left out."""

Scores = NDArray[np.float64]


def case_rows(found: Scores, right: Scores, cases: Sequence[object]) -> Scores:
    """One row a case that has an order: Spearman, Pearson, what the best found is above the mean, what the best is.

    Args:
        found, right: (n,) scores of edits, the judge's and the true ones.
        cases: (n,) the case of each edit.
    """
    rows = []
    for members in groups(cases).values():
        mine, true = found[members], right[members]
        if len(members) < 2 or true.std() < LEAST_SPREAD:
            continue
        picked = true[int(mine.argmax())] - true.mean()
        rows.append(
            (correlation(rankdata(mine), rankdata(true)), correlation(mine, true), picked, true.max() - true.mean())
        )
    return np.array(rows).reshape(-1, 4)


def summary(rows: Scores) -> dict[str, float]:
    """Means of the two correlations over cases, and what the picks gain as a share of what the best edits gain."""
    if not len(rows):
        return {}
    return {
        "spearman": float(rows[:, 0].mean()),
        "pearson": float(rows[:, 1].mean()),
        "pick_share": float(rows[:, 2].sum() / rows[:, 3].sum()),
    }


def within_cases(found: Scores, right: Scores, cases: Sequence[object]) -> dict[str, float]:
    """`summary` of all cases; empty where no case has an order."""
    return summary(case_rows(found, right, cases))


def groups(cases: Sequence[object]) -> dict[object, list[int]]:
    """Case -> numbers of its edits."""
    members: dict[object, list[int]] = {}
    for number, case in enumerate(cases):
        members.setdefault(case, []).append(number)
    return members


def correlation(found: Scores, right: Scores) -> float:
    """Pearson; 0 for scores that are all equal: they order nothing."""
    if found.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(found, right)[0, 1])
