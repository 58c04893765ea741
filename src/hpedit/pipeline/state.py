"""What a run is doing: state.json, one record a stage, for `hpedit status` and the live page.

    state = RunState(folder, names)
    with state.stage("train"): ...

Whether a process is at work is told by the folder's lock, not by the file: a killed run can't say that it stopped.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json, write_json

STATE = "state.json"
LOCK = ".lock"
Phase = Literal["pending", "running", "done", "failed", "stopped"]


@dataclass(slots=True)
class StageState:
    """How far one stage is."""

    name: str
    phase: Phase = "pending"
    seconds: float = 0.0
    """Of all sittings."""
    done: int = 0
    total: int = 0
    """Units of what it does at the moment, such as edits; 0 where nothing is counted."""
    doing: str = ""
    """What it does at the moment, or waits for."""
    note: str = ""
    """What came out, or the error."""
    eta: float | None = None
    """Seconds that the units still take at the pace of this sitting."""


class RunState:
    """The stages of one run, written to its folder at each change and at most twice a second in between."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        known = {record["name"]: record for record in read_state(folder)} if (folder / STATE).is_file() else {}
        self.stages = [StageState(**(known.get(name) or {"name": name})) for name in names]
        for one in self.stages:
            one.phase, one.eta, one.doing = "pending" if one.phase != "done" else "done", None, ""
        self._current: StageState | None = None
        self._began = self._written = 0.0
        self._first = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[StageState]:
        """Within it the stage counts as running; an error is its note."""
        one = next(one for one in self.stages if one.name == name)
        before, self._began, self._current = one.seconds, time.monotonic(), one
        one.phase, one.note, one.done, one.total = "running", "", 0, 0
        self.write()
        try:
            yield one
        except HPEditError as error:
            one.phase, one.note = "failed", error.message
            raise
        except BaseException:
            one.phase = "stopped"
            raise
        else:
            one.phase, one.doing = "done", ""
        finally:
            one.seconds, one.eta = round(before + time.monotonic() - self._began, 2), None
            self._current = None
            self.write()

    def progress(self, doing: str, done: int, total: int) -> None:
        """Note the progress of what the current stage does."""
        one = self._current
        if one is None:
            return
        if doing != one.doing:
            self._first, self._began_doing = done, time.monotonic()
        one.doing, one.done, one.total = doing, done, total
        fresh = done - self._first
        elapsed = time.monotonic() - self._began_doing
        one.eta = elapsed / fresh * (total - done) if fresh > 0 and total > done else None
        if time.monotonic() - self._written > 0.5:
            self.write()

    def write(self) -> None:
        """Write state.json."""
        self._written = time.monotonic()
        write_json(self.folder / STATE, {"stages": [asdict(one) for one in self.stages]})


def read_state(folder: Path) -> list[dict[str, Any]]:
    """The records of state.json; HPEditError where the folder is none of `hpedit run`."""
    path = folder / STATE
    if not path.is_file():
        raise HPEditError(f"{folder} is not a folder of `hpedit run`", hint="name the recipe's output")
    found: list[dict[str, Any]] = read_json(path)["stages"]
    return found


def at_work(folder: Path) -> bool:
    """Whether a process holds the folder at this moment."""
    lock = folder / LOCK
    if not lock.is_file():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
