"""Read a training run's folder for its page, finished or not, with or without held-out cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.rl.monitor.evaluations import ALARMS, HeldOutTable, read_evaluations
from hpedit.rl.monitor.group_log import GROUPS
from hpedit.store.atomic import read_json, read_jsonl
from hpedit.store.run_folder import METRICS, RECIPE, RESULT


@dataclass(frozen=True, slots=True)
class TrainRun:
    """A training run so far."""

    path: Path
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Content hashes of its inputs."""
    version: str
    metrics: Sequence[Mapping[str, Any]]
    alarms: Sequence[Mapping[str, Any]]
    table: HeldOutTable | None
    """None if nothing was held out."""
    result: Mapping[str, Any] | None
    """None while it is not finished."""
    grids: Sequence[Path]
    groups: Sequence[Path]

    @classmethod
    def open(cls, path: Path | str) -> TrainRun:
        """Read a folder of `hpedit train`; HPEditError for any other."""
        path = Path(path)
        if not (path / RECIPE).is_file():
            raise HPEditError(f"{path} is not the folder of a training run", hint="it is the output of a recipe")
        made = read_json(path / RECIPE)
        if made.get("stage") != "train":
            raise HPEditError(f"{path} is a folder of stage {made.get('stage')!r}, not of a training run")
        result = read_json(path / RESULT) if (path / RESULT).exists() else None
        grids, groups = path.glob("grids/iteration_*.png"), (path / GROUPS).glob("iteration_*.parquet")
        return cls(
            path, made["recipe"], made["inputs"], str(made.get("hpedit", "")), read_jsonl(path / METRICS),
            read_jsonl(path / ALARMS), read_evaluations(path), result, sorted(grids), sorted(groups),
        )  # fmt: skip

    @property
    def done(self) -> int:
        """Number of finished iterations."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0
