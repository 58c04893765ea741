"""Held-out evaluations on disk and as numbers: gains are paired, case by case, with the base's edits.

    held_out/base.json      the cases, pixel measures of their sources, and the base's scores and measures
    held_out/looks.jsonl    the same of the averaged weights, a line for each evaluation

Best weights, early stopping and alarms follow from these files alone, so a resumed run decides as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.bench.bench_folder import BenchRow
from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import Estimate, FloatArray
from hpedit.stats.cluster_mean import mean_ci
from hpedit.store.atomic import read_json, read_jsonl

FOLDER = "held_out"
BASE = "base.json"
EVALUATIONS = "looks.jsonl"
ALARMS = "alarms.jsonl"

Values = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores and pixel measures of edits of all held-out cases at one iteration."""

    step: int
    """Iterations done; 0 is the base."""
    scores: Values
    """Scores in 0 to 5 by instrument ("scorer", further rewards, "second", "oracle"), one a case; None: unscorable."""
    pixels: Values
    """Measures of `hpedit.bench.pixel_measures`, by name, a value a case; None: unknown."""


@dataclass(frozen=True, slots=True)
class HeldOutTable:
    """The held-out cases with what the base makes of them, and all evaluations so far."""

    cases: Sequence[Mapping[str, str]]
    """id, task and source_id of each."""
    sources: Values
    """Measures of the source pictures."""
    base: Evaluation
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def source_ids(self) -> list[str]:
        """Source photograph of each case."""
        return [case["source_id"] for case in self.cases]

    def base_json(self) -> dict[str, Any]:
        """As base.json has it."""
        cases = [dict(case) for case in self.cases]
        return {"cases": cases, "sources": dict(self.sources), "base": dataclasses.asdict(self.base)}

    def gain(self, evaluation: Evaluation, instrument: str, over: Evaluation | None = None) -> Estimate | None:
        """Mean paired change of one instrument since the base or another evaluation, with its interval by source.

        Cases that either has no score of are left out; None if none is left.
        """
        return self._mean(self._changes(evaluation, instrument, over))

    def lead(self, evaluation: Evaluation, instrument: str, other: str) -> Estimate | None:
        """By how much more one instrument rose since the base than another, in the cases that both have scored."""
        return self._mean(self._changes(evaluation, instrument) - self._changes(evaluation, other))

    def _changes(self, evaluation: Evaluation, instrument: str, over: Evaluation | None = None) -> FloatArray:
        """(n,) change of each case; NaN where a score is missing."""
        before, after = (
            np.array([np.nan if value is None else value for value in scores], dtype=np.float64)
            for scores in ((over or self.base).scores.get(instrument, ()), evaluation.scores.get(instrument, ()))
        )
        return after - before if before.size and after.size else np.full(len(self.cases), np.nan)

    def _mean(self, changes: FloatArray) -> Estimate | None:
        """The mean of known changes, None if none is known."""
        found = mean_ci(changes, self.source_ids)
        return found if found.n else None

    def gains_by_source(self, evaluation: Evaluation, instrument: str) -> dict[str, list[float]]:
        """Source photograph -> paired gains of its cases over the base, as `seed_statistics` takes them."""
        found: dict[str, list[float]] = {}
        pairs = zip(self.base.scores[instrument], evaluation.scores[instrument], self.source_ids, strict=True)
        for a, b, source in pairs:
            if a is not None and b is not None:
                found.setdefault(source, []).append(b - a)
        return found

    def rows(self, evaluation: Evaluation) -> list[BenchRow]:
        """The evaluation as rows of a benchmark, for its alarms."""
        return [
            BenchRow(
                case["id"], f"{evaluation.step}:{case['id']}", case["task"], case["source_id"], seed=0,
                alarms={name: values[index] for name, values in evaluation.pixels.items()},
                source_alarms={name: values[index] for name, values in self.sources.items()},
            )
            for index, case in enumerate(self.cases)
        ]  # fmt: skip


def evaluation_metrics(table: HeldOutTable, evaluation: Evaluation) -> dict[str, float | None]:
    """Numbers of a held-out evaluation for metrics.jsonl: each instrument's mean, and its gain over the base."""
    record: dict[str, float | None] = {"held_out_n": float(len(table.cases))}
    for name, values in evaluation.scores.items():
        known = [value for value in values if value is not None]
        gain = table.gain(evaluation, name)
        record |= {
            f"held_out_{name}": sum(known) / len(known) if known else None,
            f"held_out_{name}_gain": gain.value if gain else None,
            f"held_out_{name}_gain_low": _finite(gain.low) if gain else None,
            f"held_out_{name}_gain_high": _finite(gain.high) if gain else None,
        }
        if len(known) < len(values):
            record[f"held_out_{name}_unscorable"] = float(len(values) - len(known))
    measured = {name: [value for value in values if value is not None] for name, values in evaluation.pixels.items()}
    record |= {f"held_out_{name}": float(np.mean(known)) for name, known in measured.items() if known}
    return record


def read_evaluations(run: Path) -> HeldOutTable | None:
    """Read a run's held-out evaluations; None where nothing was held out, HPEditError if they are damaged."""
    file = run / FOLDER / BASE
    if not file.exists():
        return None
    stored = read_json(file)
    try:
        evaluations = [Evaluation(**line) for line in read_jsonl(run / FOLDER / EVALUATIONS)]
        return HeldOutTable(stored["cases"], stored["sources"], Evaluation(**stored["base"]), evaluations)
    except (KeyError, TypeError) as error:
        raise HPEditError(f"{file.parent} is damaged, or of another version", hint="remove it") from error


def _finite(value: float) -> float | None:
    """The value as JSON has it: None for NaN."""
    return value if math.isfinite(value) else None


SECOND = "second"
"""The second judge decides where there is one; otherwise the scorer, which the policy is trained to please."""


def deciding(table: HeldOutTable, main: str) -> str:
    """Name of the instrument that decides which weights are best."""
    return SECOND if SECOND in table.base.scores else main


def best_evaluation(table: HeldOutTable, instrument: str) -> Evaluation | None:
    """The evaluation with the highest mean gain, the first of equals; None if none could be scored."""
    gains = [(evaluation, table.gain(evaluation, instrument)) for evaluation in table.evaluations]
    known = [(gain.value, evaluation) for evaluation, gain in gains if gain is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def stop_reason(table: HeldOutTable, instrument: str, patience: int) -> str | None:
    """Reason for early stopping: the last `patience` evaluations brought no new best. None to go on."""
    best = best_evaluation(table, instrument)
    if not patience or best is None:
        return None
    since = sum(evaluation.step > best.step for evaluation in table.evaluations)
    if since < patience:
        return None
    return f"no better held-out {instrument} since iteration {best.step}, for {since} evaluations"
