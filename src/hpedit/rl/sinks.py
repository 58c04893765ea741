"""What metrics can be written to beside metrics.jsonl, by the names that recipes use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpedit.config import LogSection


class TensorBoard:
    """An event file below the run's folder."""

    def __init__(self, folder: Path, first: int) -> None:
        """Open a new file; what older ones have of step `first` and later is marked as gone."""
        # Imported here: it takes a second, and a run without it needs no tensorboard.
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=first)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One scalar a number, on the disk when this returns."""
        for name, value in numbers.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Accelerated:
    """A tracker of the accelerate library, which knows how to start and end it."""

    def __init__(self, name: str, project: str, run: Path) -> None:
        """Start, or go on with, the run of this folder in the project."""
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        # Trackers of accelerate ask it whether they are the main process.
        PartialState()
        settings = {"name": run.name, "resume": "allow"}
        if name == "wandb":
            settings |= {"id": hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16], "dir": str(run)}
        self._tracker: Any = LOGGER_TYPE_TO_CLASS[name](project, **settings)
        self._tracker.start()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand the numbers to the tracker."""
        self._tracker.log(dict(numbers), step=step)

    def close(self) -> None:
        """End the run."""
        self._tracker.finish()


Open = Callable[[int], Any]


def _tensorboard(settings: LogSection, run: Path) -> Open:  # noqa: ARG001
    return lambda first: TensorBoard(run / "tensorboard", first)


def _accelerated(name: str) -> Callable[[LogSection, Path], Open]:
    return lambda settings, run: lambda _first: Accelerated(name, settings.project, run)


SINKS: Mapping[str, Callable[[LogSection, Path], Open]] = {
    "tensorboard": _tensorboard,
    "trackio": _accelerated("trackio"),
    "wandb": _accelerated("wandb"),
}
"""Name -> (section `log`, run's folder) -> opener."""
