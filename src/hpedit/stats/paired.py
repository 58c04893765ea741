"""Paired significance tests: sign-flip permutation test by source photo, and Holm's correction.

Under "the models are equally good" the difference of every photo could as well have had the other sign. The sign-flip
(randomisation) test counts how often flipped signs give a sum as far from 0 as the one that was found (Fisher 1935;
Dror et al. 2018 recommend it for paired systems). It makes no assumption about the distribution of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hpedit.stats.bootstrap import FloatArray, source_index

EXACT_SOURCES = 14
"""Up to so many photos all 2^k sign patterns are counted; above, FLIPS random ones."""
FLIPS = 20_000
"""The smallest p is 1 in 20,001; at p = 0.05 its standard error is 0.0015."""
_BLOCK = 2_000_000
_ROUNDING = 1e-9
"""Relative: sums that differ by less are equal, else the order of addition would decide."""


def sign_flip_p(differences: ArrayLike, sources: Sequence[str], seed: int = 0) -> float | None:
    """Two-sided p of the mean of `differences` being 0, with whole sources as the unit that is flipped.

    Args:
        differences: (n,) paired differences; NaN is left out.
        sources: (n,) source id of each.
        seed: of the random sign patterns.

    Returns:
        p in (0, 1]; None where no difference is known.
    """
    values = np.asarray(differences, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(values)).tolist()
    if not kept:
        return None
    names, index = source_index([sources[row] for row in kept])
    sums: FloatArray = np.bincount(index, weights=values[kept], minlength=len(names)).astype(np.float64)
    bound = abs(float(sums.sum())) - _ROUNDING * float(np.abs(sums).sum())
    if len(names) <= EXACT_SOURCES:
        patterns = np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1
        return float((np.abs((1.0 - 2.0 * patterns) @ sums) >= bound).mean())
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(names))
    hits = 0
    for start in range(0, FLIPS, block):
        hits += _extreme(rng, min(block, FLIPS - start), sums, bound)
    return (1 + hits) / (1 + FLIPS)


def _extreme(rng: np.random.Generator, rows: int, sums: FloatArray, bound: float) -> int:
    signs = rng.integers(0, 2, size=(rows, len(sums)), dtype=np.int8) * 2.0 - 1.0
    return int((np.abs(signs @ sums) >= bound).sum())


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction (1979) of a family of tests: adjusted p, at most 1; None stays None.

    The family-wise error is bounded whatever the tests' dependence.
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for place, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        adjusted[name] = largest
    return adjusted
