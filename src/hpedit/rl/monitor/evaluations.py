"""What was measured on the held-out cases, on disk and as figures: each look is paired with the base's edits.

    held_out/base.json      the cases, measures of their sources, and the base's scores and measures
    held_out/looks.jsonl    the same of the averaged weights, a line a look

Best, patience and alarms follow from these files alone, so a resumed run decides as one that was never stopped.
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
from hpedit.stats.bootstrap import Estimate, mean_intervals
from hpedit.store.atomic import read_json, read_jsonl

FOLDER = "held_out"
BASE = "base.json"
LOOKS = "looks.jsonl"
ALARMS = "alarms.jsonl"

Values = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Look:
    """Edits of all held-out cases, as they were scored at one moment."""

    step: int
    """Iterations done; 0 is the base."""
    scores: Values
    """Scores in 0 to 5 by instrument ("scorer", further rewards, "second", "oracle"), a value a case; None where there
    was none to be had."""
    pixels: Mapping[str, Sequence[float]]
    """Measures of `hpedit.bench.pixel_measures`, by name, a value a case."""


@dataclass(frozen=True, slots=True)
class HeldOutTable:
    """The held-out cases with what the base makes of them, and all looks so far."""

    cases: Sequence[Mapping[str, str]]
    """id, task and source_id of each."""
    sources: Mapping[str, Sequence[float]]
    """Measures of the source pictures."""
    base: Look
    looks: list[Look] = field(default_factory=list)

    @property
    def source_ids(self) -> list[str]:
        """Source photograph of each case."""
        return [case["source_id"] for case in self.cases]

    def base_json(self) -> dict[str, Any]:
        """As base.json has it."""
        cases = [dict(case) for case in self.cases]
        return {"cases": cases, "sources": dict(self.sources), "base": dataclasses.asdict(self.base)}

    def gain(self, look: Look, instrument: str, over: Look | None = None) -> Estimate | None:
        """Mean paired change of one instrument since the base, or since another look, with its interval by source.

        Cases that either has no score of are left out; None if none is left.
        """
        before, after = (over or self.base).scores.get(instrument, ()), look.scores.get(instrument, ())
        pairs = list(zip(before, after, self.source_ids, strict=True)) if before and after else []
        known = [(b - a, source) for a, b, source in pairs if a is not None and b is not None]
        if not known:
            return None
        return mean_intervals([np.array([change for change, _ in known])], [source for _, source in known])[0]

    def gains_by_source(self, look: Look, instrument: str) -> dict[str, list[float]]:
        """Source photograph -> paired gains of its cases over the base, as `seed_statistics` takes them."""
        found: dict[str, list[float]] = {}
        pairs = zip(self.base.scores[instrument], look.scores[instrument], self.source_ids, strict=True)
        for a, b, source in pairs:
            if a is not None and b is not None:
                found.setdefault(source, []).append(b - a)
        return found

    def rows(self, look: Look) -> list[BenchRow]:
        """The look as rows of a benchmark, for its alarms."""
        return [
            BenchRow(
                case["id"], f"{look.step}:{case['id']}", case["task"], case["source_id"], seed=0,
                alarms={name: values[index] for name, values in look.pixels.items()},
                source_alarms={name: values[index] for name, values in self.sources.items()},
            )
            for index, case in enumerate(self.cases)
        ]  # fmt: skip


def figures(table: HeldOutTable, look: Look) -> dict[str, float | None]:
    """The look's numbers for metrics.jsonl: by instrument its mean and the gain over the base with its interval."""
    record: dict[str, float | None] = {"held_out_n": float(len(table.cases))}
    for name, values in look.scores.items():
        known = [value for value in values if value is not None]
        gain = table.gain(look, name)
        record |= {
            f"held_out_{name}": sum(known) / len(known) if known else None,
            f"held_out_{name}_gain": gain.value if gain else None,
            f"held_out_{name}_gain_low": _finite(gain.low) if gain else None,
            f"held_out_{name}_gain_high": _finite(gain.high) if gain else None,
        }
        if len(known) < len(values):
            record[f"held_out_{name}_unscorable"] = float(len(values) - len(known))
    record |= {f"held_out_{name}": float(np.mean(values)) for name, values in look.pixels.items()}
    return record


def read_looks(run: Path) -> HeldOutTable | None:
    """The table of a run's folder; None where nothing was held out, HPEditError where it is damaged."""
    file = run / FOLDER / BASE
    if not file.exists():
        return None
    stored = read_json(file)
    try:
        looks = [Look(**line) for line in read_jsonl(run / FOLDER / LOOKS)]
        return HeldOutTable(stored["cases"], stored["sources"], Look(**stored["base"]), looks)
    except (KeyError, TypeError) as error:
        raise HPEditError(f"{file.parent} is damaged, or of another version", hint="remove it") from error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


SECOND = "second"
"""The instrument that decides where there is one; without it the scorer must, which the policy learns to please."""


def deciding(table: HeldOutTable, main: str) -> str:
    """Name of the instrument that says which weights are best."""
    return SECOND if SECOND in table.base.scores else main


def best_look(table: HeldOutTable, instrument: str) -> Look | None:
    """The look with the highest mean gain, the first of equals; None if none could be scored."""
    gains = [(look, table.gain(look, instrument)) for look in table.looks]
    known = [(gain.value, look) for look, gain in gains if gain is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def stop_reason(table: HeldOutTable, instrument: str, patience: int) -> str | None:
    """Why the run should stop: the last `patience` looks brought no new best. None while it should not."""
    best = best_look(table, instrument)
    if not patience or best is None:
        return None
    since = sum(look.step > best.step for look in table.looks)
    if since < patience:
        return None
    return f"no better held-out {instrument} since iteration {best.step}, for {since} looks"
