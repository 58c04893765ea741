"""Mean gain over several training seeds, with a crossed bootstrap: a single run does not establish a method's effect.

    gain = seed_gain([{"photo-1": [0.4, 0.1], "photo-2": [0.3]}, {...}, {...}])    # one mapping a seed
    gain.value, gain.low, gain.high, gain.per_seed

Both the training seeds and the benchmark's photographs vary. Both are resampled, the photographs once for all seeds,
since all seeds are measured on the same ones: an easy photograph is easy for all of them, and resampling photographs
separately for each seed would underestimate that variance (crossed bootstrap: Owen 2007, "The pigeonhole bootstrap").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import RESAMPLES, FloatArray


@dataclass(frozen=True, slots=True)
class SeedGain:
    """Mean over seeds of the mean paired gain, with its 95 % interval over seeds and sources."""

    value: float
    low: float
    """NaN with fewer than two seeds or two sources: the variation is then unknown."""
    high: float
    per_seed: tuple[float, ...]
    """Each seed's own mean over its cases."""
    seeds: int
    sources: int
    """Different photographs over all seeds."""
    n: int
    """Cases, summed over seeds."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; `ci95` is None without an interval."""
        known = math.isfinite(self.low) and math.isfinite(self.high)
        found = {"mean": self.value, "ci95": [self.low, self.high] if known else None, "per_seed": list(self.per_seed)}
        return found | {"seeds": self.seeds, "sources": self.sources, "n": self.n}


def seed_gain(gains_by_seed: Sequence[Mapping[str, Sequence[float]]], *, draws: int = RESAMPLES) -> SeedGain:
    """Mean gain over seeds with a bootstrap interval over seeds and source photographs; deterministic.

    Seeds have equal weight, and so have the cases of a seed. k seeds drawn with replacement have (k - 1) / k of the
    variance of k new seeds, which matters at k = 3: the draws' deviations are widened by sqrt(k / (k - 1)).

    Args:
        gains_by_seed: For each seed: source photograph -> paired gains (post - base) of that source's cases.
        draws: Bootstrap resamples.

    Raises:
        HPEditError: no seed, a seed without a gain, or a gain that is not finite.
    """
    sums, sizes = _table(gains_by_seed)
    k, count = sums.shape
    per_seed = sums.sum(1) / sizes.sum(1)
    low = high = math.nan
    if k > 1 and count > 1:
        results = _resampled(sums, sizes, draws)
        low, high = (float(bound) for bound in np.percentile(results, [2.5, 97.5]))
    each = tuple(float(mean) for mean in per_seed)
    return SeedGain(float(per_seed.mean()), low, high, each, k, count, int(sizes.sum()))


def _table(gains_by_seed: Sequence[Mapping[str, Sequence[float]]]) -> tuple[FloatArray, FloatArray]:
    """(seeds, sources) sums of gains and numbers of cases; sources in the order of their names."""
    if not gains_by_seed:
        raise HPEditError("no seeds")
    names = sorted({name for gains in gains_by_seed for name, values in gains.items() if len(values)})
    place = {name: index for index, name in enumerate(names)}
    sums, sizes = np.zeros((len(gains_by_seed), len(names))), np.zeros((len(gains_by_seed), len(names)))
    for row, gains in enumerate(gains_by_seed):
        for name, values in gains.items():
            if len(values):
                sums[row, place[name]], sizes[row, place[name]] = sum(values), len(values)
        if not sizes[row].any():
            raise HPEditError(f"seed {row} has no gain")
    if not np.isfinite(sums).all():
        raise HPEditError("a gain is not finite", hint="leave out what could not be scored")
    return sums, sizes


def _resampled(sums: FloatArray, sizes: FloatArray, draws: int) -> FloatArray:
    """(draws,) the mean gain over drawn seeds and drawn sources."""
    k, count = sums.shape
    rng = np.random.default_rng(0)
    sources = rng.multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)
    weights = rng.multinomial(k, np.full(k, 1.0 / k), size=draws) / k
    weights = 1 / k + (weights - 1 / k) * math.sqrt(k / (k - 1))
    cases = sources @ sizes.T
    # A draw may hold none of the few sources of one seed; that seed then has its own mean.
    own = np.broadcast_to(sums.sum(1) / sizes.sum(1), cases.shape)
    means = np.divide(sources @ sums.T, cases, out=own.copy(), where=cases > 0)
    results: FloatArray = (weights * means).sum(1)
    return results
