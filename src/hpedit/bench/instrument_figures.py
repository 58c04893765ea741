"""The figures of one instrument: means, paired gains with intervals and corrected p values, overall and by task.

p values are Holm-corrected: by task over the tasks, overall over all models and instruments. A gain is "clear" if its
interval and its corrected p agree, over enough photos: verdicts, stars and colours follow from that alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchRow
from hpedit.stats.bootstrap import Estimate
from hpedit.stats.cluster_mean import ClusterMean, cluster_means, is_clear, raised_to_common
from hpedit.stats.holm import holm
from hpedit.tasks import ordered_tasks

Array = NDArray[np.float64]

LOW_SCORE = 2.0
"""Scores up to it are failures: the edit does not follow, or is ruined. A mean hides them."""
HIGH_SCORE = 4.5
"""Scores from it count as solved."""
TIE_MARGIN = 0.1
"""Points of 5 within which two edits count as equal."""


@dataclass(frozen=True, slots=True)
class InstrumentScores:
    """One instrument's scores of every model."""

    key: str
    title: str
    note: str
    independent: bool
    """Whether it can tell a real gain from reward hacking: it gave no reward."""
    values: Mapping[str, Array]
    """(n,) of each model, in the order of the cases; NaN = unscorable or missing."""
    reasons: Mapping[str, Mapping[str, int]]
    """Why values of a model are NaN, with counts."""
    fingerprint: str | None = None
    doubt: str = ""
    """Why a scorer has no signal on people's ratings; empty where it has."""
    copy: Array | None = None
    """(n,) scores of the untouched sources, if known."""


def known_cases(column: InstrumentScores) -> NDArray[np.bool_]:
    """(n,) the cases that count: scored for every model that has any score."""
    measured = [values for values in column.values.values() if not np.isnan(values).all()]
    if not measured:
        return np.zeros(0, dtype=bool)
    return np.asarray(~np.isnan(np.stack(measured)).any(axis=0), dtype=np.bool_)


def task_counts(rows: Sequence[BenchRow]) -> dict[str, int]:
    """Cases of each task, in the order of the eight tasks."""
    counts = Counter(row.task for row in rows)
    return {task: counts[task] for task in ordered_tasks(counts)}


def instrument_figures(column: InstrumentScores, rows: Sequence[BenchRow], by_task: bool) -> dict[str, Any]:
    """All figures by one instrument; those overall are not corrected yet."""
    sources = [row.source_id for row in rows]
    known = known_cases(column)
    overall = _Measured.of(column, np.flatnonzero(known).tolist(), sources)
    tasks: dict[str, dict[str, Any]] = {}
    if by_task:
        found = np.array([row.task for row in rows])
        kept = {task: np.flatnonzero((found == task) & known).tolist() for task in task_counts(rows)}
        parts = {task: _Measured.of(column, places, sources) for task, places in kept.items() if places}
        raised = _raised(list(parts.values())) if parts else []
        tasks = {task: part.block() for task, part in zip(parts, raised, strict=True)}
        for model in column.values:
            _correct({task: block["models"].get(model, {}) for task, block in tasks.items()})
    return {
        **{name: getattr(column, name) for name in ("key", "title", "note", "independent", "fingerprint", "doubt")},
        "unscorable": {name: int(np.isnan(values).sum()) for name, values in column.values.items()},
        "reasons": {name: dict(reasons) for name, reasons in column.reasons.items() if reasons},
        "left_out": int((~known).sum()),
        "overall": overall.block(),
        "tasks": tasks,
    }


@dataclass(frozen=True, slots=True)
class _Measured:
    """An instrument's scores of the same cases by every model, their paired differences, and the means of both."""

    reference: str
    values: Mapping[str, Array]
    """Model -> (n,) scores."""
    changes: Mapping[tuple[str, str], Array]
    """(earlier, later) -> (n,) differences: each model against the reference, and the others against one another."""
    means: Sequence[ClusterMean]
    """Of values, changes, and the untouched sources if all of their scores are known."""

    @classmethod
    def of(cls, column: InstrumentScores, kept: Sequence[int], sources: Sequence[str]) -> _Measured:
        """Of the cases at the positions `kept`, at least one; models without any score have no part."""
        reference = next(iter(column.values))
        measured = {name: values for name, values in column.values.items() if not np.isnan(values).all()}
        values = {name: array[kept] for name, array in measured.items()}
        others = [name for name in values if name != reference]
        pairs = [(reference, name) for name in others if reference in values] + list(combinations(others, 2))
        changes = {(earlier, later): values[later] - values[earlier] for earlier, later in pairs}
        copies = [] if column.copy is None or np.isnan(column.copy[kept]).any() else [column.copy[kept]]
        found = cluster_means([*values.values(), *changes.values(), *copies], [sources[index] for index in kept])
        return cls(reference, values, changes, found)

    def block(self) -> dict[str, Any]:
        """The figures of each model, and of the pairs without the reference."""
        estimates = [mean.estimate() for mean in self.means]
        models: dict[str, dict[str, Any]] = {}
        for (name, column), estimate in zip(self.values.items(), estimates, strict=False):
            low, high = float((column <= LOW_SCORE).mean()), float((column >= HIGH_SCORE).mean())
            models[name] = {**estimate.as_dict("mean"), "low_share": low, "high_share": high}
        pairs = []
        rest = estimates[len(self.values) :]
        for ((earlier, later), change), gain in zip(self.changes.items(), rest, strict=False):
            found = _difference(gain) | {"win_tie_loss": win_tie_loss(change)}
            if earlier == self.reference:
                models[later] |= found
            else:
                pairs.append({"of": later, "over": earlier, **found})
        whole = self.means[0]
        result: dict[str, Any] = {"n": whole.n, "sources": whole.sources, "models": models, "pairs": pairs}
        copies = rest[len(self.changes) :]
        return result | ({"copy": copies[0].as_dict("mean")} if copies else {})


def _raised(parts: Sequence[_Measured]) -> list[_Measured]:
    """The parts of a table, one a task, with no mean's variance far below that of all tasks."""
    shared = len(parts[0].values) + len(parts[0].changes)
    columns = [raised_to_common([part.means[place] for part in parts]) for place in range(shared)]
    return [
        dataclasses.replace(part, means=[*(column[row] for column in columns), *part.means[shared:]])
        for row, part in enumerate(parts)
    ]


def _difference(gain: Estimate) -> dict[str, Any]:
    """A paired difference; "clear" is settled by `_correct`."""
    p = None if math.isnan(gain.p) else gain.p
    return {"gain": gain.as_dict("mean") | {"photos": gain.sources, "clear": False}, "p": p}


def _correct(family: Mapping[Any, dict[str, Any]]) -> None:
    """Add p_holm to a family of tests, and settle which of their gains are clear; entries without p are passed over."""
    for name, p in holm({name: one["p"] for name, one in family.items() if "p" in one}).items():
        gain = family[name]["gain"]
        family[name]["p_holm"] = p
        low, high = gain["ci95"]
        gain["clear"] = low is not None and is_clear(Estimate(gain["mean"], low, high, 0, gain["photos"]), p)


def correct_overall(instruments: Sequence[Mapping[str, Any]]) -> None:
    """Correct what verdicts rest on: the gains of all models by all instruments; and, apart, all other pairs."""
    blocks = {one["key"]: one["overall"] for one in instruments}
    _correct({(key, name): model for key, block in blocks.items() for name, model in block["models"].items()})
    _correct({(key, place): pair for key, block in blocks.items() for place, pair in enumerate(block["pairs"])})


def win_tie_loss(change: Array) -> dict[str, int]:
    """How many cases got better, stayed about equal, got worse."""
    # 4.1 - 4.0 is a little less than 0.1 in floats, and 1.1 - 1.0 a little more; both are ties.
    exact = change.round(9)
    win, loss = int((exact > TIE_MARGIN).sum()), int((exact < -TIE_MARGIN).sum())
    return {"win": win, "tie": len(change) - win - loss, "loss": loss}
