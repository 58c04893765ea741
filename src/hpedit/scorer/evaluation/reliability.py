"""Reliability of scores and their standard deviations: reliability diagram, bias, coverage.

- Bins: edits in order of their score, cut into bins of equal size; the mean rating of a bin should be its mean score
  (reliability diagram). The slope of the ratings over the scores should be 1, the bias 0.
- Stated deviation: the share of mean ratings inside the stated 50, 80 and 95 % intervals, score +- z std, should be
  just that (coverage); the root mean square of (rating - score) / std should be 1 (z_spread): above 1 the scorer is
  overconfident. In bins of edits by stated deviation, the root mean square error should be the stated one.

The stated deviation is that of a mean rating by as many people as rated the edits of the fit: fewer raters here scatter
more, and then z_spread is above 1 through no fault of the scorer.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from hpedit.stats.bootstrap import Estimate, FloatArray, IntArray
from hpedit.stats.correlation import Resamples, safe_ratio

LEVELS = (0.5, 0.8, 0.95)
"""Nominal coverage of the intervals that are checked."""
BINS = 10
PER_BIN = 10
"""Fewest edits a bin; fewer edits make fewer bins."""
BAND = 0.5
"""Width of the histogram's bands on the 0-5 scale."""
HARMLESS = 0.1
"""A spread of standardised errors this close to 1 is acceptable, even if significantly different from 1."""

_ROUNDING = 1e-9

Says = Literal["holds", "too small", "too large"]


def reliability_report(score: FloatArray, target: FloatArray, draws: Resamples) -> dict[str, Any]:
    """Reliability diagram of scores against mean ratings.

    Args:
        score: (n,) scores, 0 to 5, no NaN.
        target: (n,) mean ratings, no NaN.
        draws: resamples of these edits.

    Returns:
        JSON values: slope, bias (score minus rating), bins of {"low", "high" (range of scores), "n", "score" (mean),
        "rating": {"value", "ci95"}}, histogram {"width", "scores", "ratings"} with shares of the edits by band.
    """
    return {
        "slope": draws.estimate(_slope(score, target, draws)).as_dict(),
        "bias": draws.estimate(draws.mean(score - target)).as_dict(),
        "bins": [_bin(score, target, draws.part(rows), rows) for rows in equal_bins(score)],
        "histogram": {"width": BAND, "scores": _shares(score), "ratings": _shares(target)},
    }


def stated_deviation(
    score: FloatArray, deviation: FloatArray, target: FloatArray, draws: Resamples
) -> dict[str, Any] | None:
    """Stated against actual deviation; None if no edit has one above 0.

    Args:
        score: (n,) scores, 0 to 5, no NaN.
        deviation: (n,) stated standard deviation; NaN or not above 0 = none stated, left out and counted.
        target: (n,) mean ratings, no NaN.
        draws: resamples of these edits.

    Returns:
        JSON values: n, left_out, coverage ({"0.5": {"value", "ci95", "nominal"}, ...}), z_spread (nominal 1), z_mean
        (nominal 0), stated (root mean square), actual (root mean square error), bins of {"n", "stated", "actual"},
        and says: "too small" if the interval of z_spread is above 1 and leaves `HARMLESS`, "too large" if it is below 1
        and leaves it, else "holds"; None without an interval.
    """
    rows = np.flatnonzero(deviation > 0)
    if len(rows) == 0:
        return None
    part, std, error = draws.part(rows), deviation[rows], (target - score)[rows]
    z = error / std
    spread = part.estimate(np.sqrt(part.mean(z**2)))
    coverage = {
        f"{level:g}": part.estimate(part.mean(_inside(z, level))).as_dict() | {"nominal": level} for level in LEVELS
    }
    return {
        "n": len(rows),
        "left_out": len(deviation) - len(rows),
        "coverage": coverage,
        "z_spread": spread.as_dict(),
        "z_mean": part.estimate(part.mean(z)).as_dict(),
        "stated": float(np.sqrt(np.mean(std**2))),
        "actual": float(np.sqrt(np.mean(error**2))),
        "bins": [_deviation_bin(std, error, part, own) for own in equal_bins(std)],
        "says": _says(spread),
    }


def equal_bins(values: FloatArray) -> list[IntArray]:
    """Rows of quantile bins, by rising value; equal values share a bin, so that bins may be fewer and unequal."""
    wanted = min(BINS, max(1, len(values) // PER_BIN))
    edges = np.unique(np.quantile(values, np.arange(1, wanted) / wanted)) if len(values) else np.empty(0)
    number = np.searchsorted(edges, values - _ROUNDING, side="left")
    return [np.flatnonzero(number == each) for each in np.unique(number)]


def _slope(score: FloatArray, target: FloatArray, draws: Resamples) -> FloatArray:
    """Least-squares slope of target over score; NaN where the score does not vary."""
    if len(score) == 0 or np.ptp(score) < _ROUNDING:
        return np.full(len(draws.counts), np.nan)
    x, y = score - score.mean(), target - target.mean()
    mean_x, mean_y = draws.mean(x), draws.mean(y)
    variance = draws.mean(x * x) - mean_x**2
    return safe_ratio(draws.mean(x * y) - mean_x * mean_y, np.where(variance > _ROUNDING, variance, 0.0))


def _bin(score: FloatArray, target: FloatArray, part: Resamples, rows: IntArray) -> dict[str, Any]:
    return {
        "low": float(score[rows].min()),
        "high": float(score[rows].max()),
        "n": len(rows),
        "score": float(score[rows].mean()),
        "rating": part.estimate(part.mean(target[rows])).as_dict(),
    }


def _deviation_bin(std: FloatArray, error: FloatArray, draws: Resamples, rows: IntArray) -> dict[str, Any]:
    part = draws.part(rows)
    actual = part.estimate(np.sqrt(part.mean(error[rows] ** 2)))
    return {"n": len(rows), "stated": float(np.sqrt(np.mean(std[rows] ** 2))), "actual": actual.as_dict()}


def _inside(z: FloatArray, level: float) -> FloatArray:
    inside: FloatArray = (np.abs(z) <= norm.ppf((1 + level) / 2) + _ROUNDING).astype(np.float64)
    return inside


def _says(spread: Estimate) -> Says | None:
    if np.isnan(spread.low):
        return None
    if spread.low > 1 and spread.high > 1 + HARMLESS:
        return "too small"
    return "too large" if spread.high < 1 and spread.low < 1 - HARMLESS else "holds"


def _shares(values: FloatArray) -> list[float]:
    """Share of the values in each band of 0 to 5, the last one closed; empty for no values."""
    if len(values) == 0:
        return []
    bands = round(5 / BAND)
    band = np.clip((values / BAND).astype(np.int64), 0, bands - 1)
    return [float(share) for share in np.bincount(band, minlength=bands) / len(values)]
