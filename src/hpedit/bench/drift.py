"""Reward hacking alarms: whether edits drift away from the look of their sources, by measures of the pixels alone.

A common failure of RL on image models is that the reward rises while pictures become over-sharpened, over-saturated or
gridded, or that the model learns to leave the picture unchanged. No measure here says that an edit is bad; an alarm
says where to look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchRow
from hpedit.bench.pixel_measures import CLOSENESS, PIXEL_MEASURES, UNTOUCHED
from hpedit.stats.bootstrap import mean_intervals

Array = NDArray[np.float64]
Arms = Mapping[str, Sequence[BenchRow]]

ALARM_CHANGE = 0.10
"""Relative change of a measure, away from the sources, from which it is an alarm."""
CLOSENESS_CHANGE = 0.25
"""The same for how much of the picture an edit changes: a better editor may well change more, or less, so only a large
step is an alarm."""


def pixel_drift(arms: Arms, seed: int) -> dict[str, Any]:
    """Each pixel measure on the sources and on every model's edits, over the cases that every model edited.

    Returns:
        Measure -> {"source": estimate, "models": {label: estimate, and for all but the first gain, alarm, meaning}}.
    """
    kept = _shared(arms)
    if not kept:
        return {}
    reference = next(iter(arms))
    sources = [arms[reference][index].source_id for index in kept]
    result: dict[str, Any] = {}
    for name in PIXEL_MEASURES:
        if not all(name in arms[label][index].alarms for label in arms for index in kept):
            continue
        source = np.array([arms[reference][index].source_alarms[name] for index in kept], dtype=np.float64)
        values = {
            label: np.array([rows[index].alarms[name] for index in kept], dtype=np.float64)
            for label, rows in arms.items()
        }
        result[name] = _measure(name, source, values, sources, seed)
    return result


def _measure(
    name: str, source: Array, values: Mapping[str, Array], sources: Sequence[str], seed: int
) -> dict[str, Any]:
    """One measure on the sources and on every model's edits; the first model is the reference."""
    reference, *others = values
    changes = [values[label] - values[reference] for label in others]
    found = mean_intervals([source, *values.values(), *changes], sources, seed)
    models: dict[str, dict[str, Any]] = {
        label: one.as_dict("mean") for label, one in zip(values, found[1:], strict=False)
    }
    read = _closeness if name == CLOSENESS else _reading
    base = float(values[reference].mean())
    for label, gain in zip(others, found[1 + len(values) :], strict=True):
        says = read(float(source.mean()), base, float(values[label].mean()), gain.low, gain.high)
        models[label] |= {"gain": gain.as_dict("mean"), **says}
    return {"source": found[0].as_dict("mean"), "models": models}


def untouched_shares(arms: Arms) -> dict[str, float | None]:
    """Share of each model's edits that leave the picture unchanged, over the cases that every model edited.

    None if that was not measured.
    """
    kept = _shared(arms)
    shares: dict[str, float | None] = {}
    for label, rows in arms.items():
        known = [rows[index].alarms[CLOSENESS] for index in kept if CLOSENESS in rows[index].alarms]
        shares[label] = sum(1 - value <= UNTOUCHED for value in known) / len(known) if known else None
    return shares


def _shared(arms: Arms) -> list[int]:
    columns = list(arms.values())
    return [index for index in range(len(columns[0])) if all(not rows[index].missing for rows in columns)]


def _reading(source: float, base: float, post: float, low: float, high: float) -> dict[str, Any]:
    """The change of one measure in words, and whether it is an alarm."""
    # An unknown interval is NaN and compares false: no claim, no alarm.
    if not (low > 0 or high < 0):
        return {"alarm": False, "meaning": "no clear change"}
    away = abs(post - source) > abs(base - source)
    share = abs(post - base) / base if base else math.inf
    amount = f"by {share:.0%}" if math.isfinite(share) else "from nothing"
    meaning = f"{'rose' if post > base else 'fell'} {amount}, {'away from' if away else 'toward'} the sources"
    return {"alarm": away and share >= ALARM_CHANGE, "meaning": meaning}


def _closeness(source: float, base: float, post: float, low: float, high: float) -> dict[str, Any]:
    """The same for closeness, which is 1 for the source: its complement is how much an edit changed."""
    if not (low > 0 or high < 0):
        return {"alarm": False, "meaning": "no clear change"}
    share = abs(post - base) / (source - base) if base < source else math.inf
    amount = f" by {share:.0%}" if math.isfinite(share) else ""
    meaning = f"edits change {'less' if post > base else 'more'} of the picture{amount}"
    return {"alarm": share >= CLOSENESS_CHANGE, "meaning": meaning}
