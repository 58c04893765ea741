"""Experiment trackers (TensorBoard, trackio, Weights & Biases) as side channels of a run.

    tracker = open_tracker(recipe.log, run.path, step=start)
    tracker.log(iteration + 1, record, {"samples": grid})      # returns at once
    tracker.close()                         # waits a little for what is still to be written

metrics.jsonl with the grids beside it is the record; no failure here stops, slows or changes a run. Each tracker has a
thread of its own that opens it and writes to it. While it fails, records wait, and it is reopened later; one that hangs
is left behind.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from hpedit.config.recipe import LogSection

logger = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""Waits after failures in a row; the last is repeated."""
CLOSE_SECONDS = 10.0
"""How long the end of a run waits for its trackers, all together."""
BACKLOG = 10_000
"""Records that wait for a tracker; older ones are dropped, and are in metrics.jsonl."""


class Sink(Protocol):
    """A tracker that is open."""

    def write(self, step: int, numbers: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Write numbers and pictures (image files) of one step, so that they are there when this returns."""

    def close(self) -> None:
        """Close it."""


_Record = tuple[int, Mapping[str, float], Mapping[str, Path]]
"""Step, numbers, and pictures as files: what waits for a tracker holds no pixels."""
Opener = Callable[[int], Sink]
"""Opens a sink; what it has of the given step and later is written again."""


class TensorBoard:
    """A TensorBoard event file below the run's folder."""

    def __init__(self, folder: Path, start: int, step: int) -> None:
        """Open a new file; what older ones have of `step` and of steps after `start` is marked as gone."""
        # Imported here: it takes a second, and a run without it needs no tensorboard.
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=max(step, start + 1))

    def write(self, step: int, numbers: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """One scalar a number, one image a picture, flushed."""
        for name, value in numbers.items():
            self._writer.add_scalar(f"train/{name}", value, step)
        for name, path in pictures.items():
            with Image.open(path) as picture:
                self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Accelerated:
    """A tracker of the accelerate library: trackio or wandb."""

    def __init__(self, name: str, project: str, run: Path, _step: int) -> None:
        """Start, or resume, the tracker's run of this folder in the project."""
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # trackers of accelerate ask it whether they are the main process
        self._name = name
        settings = {"name": run.name, "resume": "allow"}
        if name == "wandb":
            settings |= {"id": hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16], "dir": str(run)}
        self._tracker: Any = LOGGER_TYPE_TO_CLASS[name](project, **settings)
        self._tracker.start()

    def write(self, step: int, numbers: Mapping[str, float], pictures: Mapping[str, Path]) -> None:
        """Log all in one call, so that a repeated one leaves nothing half or double."""
        values: dict[str, Any] = dict(numbers)
        if pictures:
            # Both libraries name the type of a picture so; accelerate's own log_images knows wandb alone.
            kind = import_module(self._name).Image
            values |= {name: kind(str(path)) for name, path in pictures.items()}
        self._tracker.log(values, step=step)

    def close(self) -> None:
        """End the run."""
        self._tracker.finish()


class Tracker:
    """All trackers of a run; takes numbers and hands them on."""

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        """Open each in the background, by the name that a warning gives it."""
        self._channels = [_Channel(name, opener) for name, opener in openers.items()]

    def log(self, step: int, record: Mapping[str, Any], pictures: Mapping[str, Path] | None = None) -> None:
        """Queue the numbers of one record, and image files of the run's folder; returns at once."""
        numbers = {name: float(value) for name, value in record.items() if _is_number(value) and name != "step"}
        for channel in self._channels:
            channel.put((step, numbers, pictures or {}))

    def close(self) -> None:
        """Write what is left, for some seconds at most."""
        deadline = time.monotonic() + CLOSE_SECONDS
        for channel in self._channels:
            channel.finish()
        for channel in self._channels:
            channel.join(max(0.0, deadline - time.monotonic()))


def open_tracker(settings: LogSection, run: Path, step: int) -> Tracker:
    """Open the trackers that a recipe names.

    Args:
        settings: The recipe's section `log`.
        run: The run's folder, whose name is the run's.
        step: Iterations done: what trackers have of later ones is of a run that was killed.
    """
    openers: dict[str, Opener] = {}
    if settings.tensorboard:
        openers["tensorboard"] = partial(TensorBoard, run / "tensorboard", step)
    for name in settings.trackers:
        openers[name] = partial(Accelerated, name, settings.project, run)
    return Tracker(openers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Channel:
    """One sink and the thread that alone touches it."""

    def __init__(self, name: str, opener: Opener) -> None:
        self.name, self._open = name, opener
        self._waiting: deque[_Record] = deque(maxlen=BACKLOG)
        self._changed = threading.Condition()
        self._closing = self._dead = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, record: _Record) -> None:
        with self._changed:
            if not self._dead:
                self._waiting.append(record)
                self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._waiting and not self._dead:
            logger.warning("%s lacks %d records; metrics.jsonl has all", self.name, len(self._waiting))

    def _run(self) -> None:
        sink: Sink | None = None
        while (record := self._next()) is not None:
            try:
                sink = sink or self._open(record[0])
                step, numbers, pictures = record
                # One that was removed meanwhile would be tried for ever.
                sink.write(step, numbers, {name: path for name, path in pictures.items() if path.is_file()})
            except ImportError as error:
                self._give_up(error)
                return
            except Exception as error:
                # A tracker may raise anything, and none of it may stop the run.
                _close(sink)
                sink = None
                if not self._wait_after(error):
                    return
            else:
                self._written()
        _close(sink)

    def _next(self) -> _Record | None:
        """The oldest record that is not written; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _written(self) -> None:
        with self._changed:
            self._waiting.popleft()
        if self._failures:
            logger.warning("%s works again", self.name)
        self._failures = 0

    def _wait_after(self, error: Exception) -> bool:
        """Wait before another try; False at the end, after one last try."""
        if not self._failures:
            logger.warning("%s fails, the run continues without it: %s", self.name, error)
        with self._changed:
            if self._closing and self._failures:
                return False
            pause = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            self._changed.wait_for(lambda: self._closing, pause)
        return True

    def _give_up(self, error: ImportError) -> None:
        with self._changed:
            self._dead = True
            self._waiting.clear()
        logger.warning("no %s: %s is not installed", self.name, error.name or error)


def _close(sink: Sink | None) -> None:
    if sink is not None:
        try:
            sink.close()
        except Exception as error:
            logger.debug("a tracker did not close: %s", error)
