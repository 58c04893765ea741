"""Reward hacking alarms: whether edits drift away from the look of their sources, by measures of the pixels alone.

A common failure of RL on image models is that the reward rises while pictures become over-sharpened, over-saturated or
gridded, that what should stay is shifted or zoomed, or that the model learns to leave the picture unchanged. No measure
here says that an edit is bad; an alarm says where to look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchRow
from hpedit.bench.pixel_measures import CLOSENESS, DISPLACEMENT, PIXEL_MEASURES, UNTOUCHED
from hpedit.stats.bootstrap import Estimate
from hpedit.stats.cluster_mean import is_clear, mean_intervals
from hpedit.stats.holm import holm

Array = NDArray[np.float64]
Arms = Mapping[str, Sequence[BenchRow]]

ALARM_CHANGE = 0.10
"""Relative change of a measure, away from the sources, from which it is an alarm."""
CLOSENESS_CHANGE = 0.25
"""The same for how much of the picture an edit changes: a better editor may well change more, or less, so only a large
step is an alarm."""
DISPLACEMENT_CHANGE = 0.3
"""px: mean shift of what should stay, beyond the reference's, from which it is an alarm: one edit in ten by 3 px."""


def pixel_drift(arms: Arms, looks: int = 1) -> dict[str, Any]:
    """Each pixel measure on the sources and on every model's edits, over the cases that every model edited.

    Args:
        arms: The rows of each model, the reference first.
        looks: How often such a comparison is made in all; p values are corrected for it, and by Holm for the number of
            measures and models.

    Returns:
        Measure -> {"source": estimate, "models": {label: estimate, and for all but the first gain, alarm, meaning}}.
    """
    kept = _shared(arms)
    found = {name: one for name in PIXEL_MEASURES if (one := _measured(name, arms, kept)) is not None}
    gains = {(name, label): gain for name, one in found.items() for label, gain in one.gains.items()}
    # Closeness has no wrong direction; of the others only a move away from the sources is an alarm, so p is halved.
    sides = {key: 1.0 if key[0] == CLOSENESS else 0.5 for key in gains}
    corrected = holm({key: None if math.isnan(one.p) else looks * sides[key] * one.p for key, one in gains.items()})
    return {
        name: one.as_dict(name, {label: is_clear(gain, corrected[name, label]) for label, gain in one.gains.items()})
        for name, one in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Change:
    """One measure's means, and its paired changes against the first model."""

    source: Estimate
    models: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]

    def as_dict(self, name: str, clear: Mapping[str, bool]) -> dict[str, Any]:
        """As `pixel_drift` returns it; `clear` says which changes are beyond chance."""
        base = next(iter(self.models.values())).value
        read = READINGS.get(name, _reading)
        models: dict[str, dict[str, Any]] = {label: {**one.as_dict("mean")} for label, one in self.models.items()}
        for label, gain in self.gains.items():
            alarm, meaning = read(self.source.value, base, self.models[label].value)
            says = {"alarm": alarm, "meaning": meaning} if clear[label] else {"alarm": False, "meaning": UNCLEAR}
            models[label] = {**models[label], "gain": gain.as_dict("mean"), **says}
        return {"source": self.source.as_dict("mean"), "models": models}


def _measured(name: str, arms: Arms, kept: Sequence[int]) -> _Change | None:
    """One measure over those of the cases `kept` in which it is known of every model's edit; None if there is none."""
    known = [index for index in kept if all(rows[index].alarms.get(name) is not None for rows in arms.values())]
    if not known:
        return None
    reference, *others = arms
    rows = [arms[reference][index] for index in known]
    source = np.array([row.source_alarms[name] for row in rows], dtype=np.float64)
    values = {label: np.array([arms[label][index].alarms[name] for index in known], dtype=np.float64) for label in arms}
    changes = [values[label] - values[reference] for label in others]
    first, *rest = mean_intervals([source, *values.values(), *changes], [row.source_id for row in rows])
    models = dict(zip(arms, rest, strict=False))
    return _Change(first, models, dict(zip(others, rest[len(models) :], strict=True)))


def untouched_shares(arms: Arms) -> dict[str, float | None]:
    """Share of each model's edits that leave the picture unchanged, over the cases that every model edited.

    None if that was not measured.
    """
    kept = _shared(arms)
    shares: dict[str, float | None] = {}
    for label, rows in arms.items():
        known = [value for index in kept if (value := rows[index].alarms.get(CLOSENESS)) is not None]
        shares[label] = sum(1 - value <= UNTOUCHED for value in known) / len(known) if known else None
    return shares


def _shared(arms: Arms) -> list[int]:
    """Positions of the cases that every model edited."""
    columns = list(arms.values())
    return [index for index in range(len(columns[0])) if all(not rows[index].missing for rows in columns)]


def _reading(source: float, base: float, post: float) -> tuple[bool, str]:
    """Whether a clear change of one measure is an alarm, and the change in words."""
    away = abs(post - source) > abs(base - source)
    share = abs(post - base) / base if base else math.inf
    amount = f"by {share:.0%}" if math.isfinite(share) else "from nothing"
    meaning = f"{'rose' if post > base else 'fell'} {amount}, {'away from' if away else 'toward'} the sources"
    return away and share >= ALARM_CHANGE, meaning


def _closeness(source: float, base: float, post: float) -> tuple[bool, str]:
    """The same for closeness, which is 1 for the source: its complement is how much an edit changed."""
    share = abs(post - base) / (source - base) if base < source else math.inf
    amount = f" by {share:.0%}" if math.isfinite(share) else ""
    meaning = f"edits change {'less' if post > base else 'more'} of the picture{amount}"
    return share >= CLOSENESS_CHANGE, meaning


def _displacement(source: float, base: float, post: float) -> tuple[bool, str]:  # noqa: ARG001
    """The same for displacement, which is 0 for the source and in pixels, so that a share of it means little."""
    change = post - base
    return change >= DISPLACEMENT_CHANGE, f"what should stay moves by {abs(change):.1f} px {_more(change)}"


def _more(change: float) -> str:
    """The direction of a change in a word."""
    return "more" if change > 0 else "less"


READINGS = {CLOSENESS: _closeness, DISPLACEMENT: _displacement}
UNCLEAR = "no clear change"
