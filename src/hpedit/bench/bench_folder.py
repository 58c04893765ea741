"""The folder of one model's benchmark results: its edits, measures of their pixels, and the scores of each instrument.

    recipe.json     what was asked: label, editor, seed, steps
    edits.parquet   the edited images
    rows.jsonl      a line a case: the oracle, where the exact target is known, and measures of the pixels
    scores/         two files an instrument (HP-Scorer, a second judge): what it is, and a line an edit

Scores stand apart from the edits, so that an instrument can be added later and asks for nothing but its own scores.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpedit.errors import HPEditError
from hpedit.records import Edit
from hpedit.store.atomic import read_json, read_jsonl
from hpedit.store.run_folder import METRICS, RECIPE, RESULT
from hpedit.store.tables import iter_edits

EDITS, ROWS, PARTS, SCORES = "edits.parquet", "rows.jsonl", "parts", "scores"
STAGE = "bench"

Role = Literal["scorer", "second"]


@dataclass(frozen=True, slots=True)
class BenchRow:
    """The measures and scores of one benchmark case."""

    case_id: str
    edit_id: str
    """Empty without an edit."""
    task: str
    source_id: str
    seed: int
    score: float | None = None
    """HP-Scorer, 0-5; None = unscorable, or no scorer was given."""
    std: float | None = None
    reason: str | None = None
    """Why it is unscorable."""
    oracle: float | None = None
    """Oracle, 0-5; None for a case without an exact target."""
    copy_oracle: float | None = None
    """What the untouched source gets from the oracle."""
    alarms: Mapping[str, float | None] = field(default_factory=dict)
    """`hpedit.bench.pixel_measures` of the edit; empty without an edit."""
    source_alarms: Mapping[str, float | None] = field(default_factory=dict)
    """The same of the source."""
    missing: str | None = None
    """Why there is no edit of this case; None if there is one."""

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it, without scores: they have files of their own."""
        row = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("score", "std", "reason")
        }
        return row | {"alarms": dict(self.alarms), "source_alarms": dict(self.source_alarms)}


@dataclass(frozen=True, slots=True)
class Instrument:
    """A scorer or judge that gave a file of scores."""

    fingerprint: str
    role: Role
    """"scorer": it is, or could be, a reward; "second": a judge that took no part in training."""
    name: str
    """As the user named it: a scorer's folder, a judge."""
    same_judge: bool = False
    """A second judge that is one of the scorer's own and so not independent; the user asked for it."""
    judges: tuple[str, ...] = ()
    """Fingerprints of the judges that answer."""
    doubt: str = ""
    """Why a fitted scorer has no signal on people's ratings; empty if it has, and for an uncalibrated judge."""

    @property
    def stem(self) -> str:
        """Of its two files below scores/."""
        return hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class BenchFolder:
    """A finished benchmark of one model on disk."""

    path: Path
    label: str
    settings: Mapping[str, Any]
    """The recipe it was made with: editor, seed, steps."""
    cases: str | None
    """Fingerprint of the cases."""
    result: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> BenchFolder:
        """Read a folder that `run_bench` has finished; HPEditError for any other."""
        path = Path(path)
        if not (path / RECIPE).exists():
            raise HPEditError(f"{path} is not the folder of a benchmark", hint="`hpedit bench run --out` makes one")
        made = read_json(path / RECIPE)
        if made.get("stage") != STAGE:
            raise HPEditError(f"{path} is a folder of stage {made.get('stage')!r}, not of a benchmark")
        if not (path / RESULT).exists():
            raise HPEditError(f"{path} is not finished", hint="run the same benchmark again to continue it")
        return cls(path, made["recipe"]["label"], made["recipe"], made["inputs"].get("cases"), read_json(path / RESULT))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent on each stage, over all runs of the command."""
        return {stage: total["seconds"] for stage, total in stage_totals(self.path).items()}

    @property
    def speeds(self) -> dict[str, float]:
        """Cases per second of each stage that took measurable time."""
        totals = stage_totals(self.path)
        return {stage: one["count"] / one["seconds"] for stage, one in totals.items() if one["seconds"] > 0}

    def rows(self) -> list[BenchRow]:
        """One row a case, with the scores of its HP-Scorer if it has just one."""
        rows = [BenchRow(**row) for row in read_jsonl(self.path / ROWS)]
        scorers = [instrument for instrument in self.instruments() if instrument.role == "scorer"]
        if len(scorers) != 1:
            return rows
        scores = self.scores(scorers[0])
        return [
            dataclasses.replace(row, **{name: scores[row.edit_id][name] for name in ("score", "std", "reason")})
            if row.edit_id in scores
            else row
            for row in rows
        ]

    def edits(self) -> Iterator[Edit]:
        """The edited images."""
        return iter_edits(self.path / EDITS)

    def instruments(self) -> list[Instrument]:
        """What has scored every edit, scorers before second judges."""
        edits = sum(1 for row in read_jsonl(self.path / ROWS) if not row.get("missing"))
        found = [_instrument(file) for file in sorted((self.path / SCORES).glob("*.json"))]
        done = [one for one in found if len(self.scores(one)) == edits]
        return sorted(done, key=lambda one: (one.role, one.name, one.fingerprint))

    def scores(self, instrument: Instrument) -> dict[str, dict[str, Any]]:
        """Edit id -> {"score", "std", "reason"} by one instrument; those that it has scored so far."""
        return {line["edit_id"]: line for line in read_jsonl(scores_file(self.path, instrument))}


def _instrument(file: Path) -> Instrument:
    stored = read_json(file)
    return Instrument(**{**stored, "judges": tuple(stored["judges"])})


def scores_file(path: Path, instrument: Instrument) -> Path:
    """Path of an instrument's scores in a benchmark's folder."""
    return path / SCORES / f"{instrument.stem}.jsonl"


def refuse_foreign(out: Path, *marks: str) -> None:
    """HPEditError if `out` is a file, or a non-empty folder without any of the files `marks` that make it ours."""
    if not out.exists():
        return
    if not out.is_dir():
        raise HPEditError(f"{out} is a file, not a folder", hint="choose another --out")
    theirs = sorted(file.name for file in out.iterdir() if not file.name.startswith("."))
    if theirs and not any(mark in theirs for mark in marks):
        raise HPEditError(f"{out} is not empty: it has {theirs[0]}", hint="choose another --out, or an empty folder")


def stage_totals(path: Path) -> dict[str, dict[str, float]]:
    """Stage -> {"count", "seconds"}, summed over all runs of the command."""
    totals: dict[str, dict[str, float]] = {}
    for record in read_jsonl(path / METRICS):
        total = totals.setdefault(record["stage"], {"count": 0, "seconds": 0.0})
        total["count"] += record["count"]
        total["seconds"] += record["seconds"]
    return totals
