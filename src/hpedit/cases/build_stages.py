"""Stages of a build: their dependencies, and which are finished or stale.

A stage's folder holds stage.json with its settings and a key: the hash of the settings, of the inputs' content and of
the previous stage's key. So a stage is stale when anything before it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.store.atomic import TEMPORARY, atomic_write, dump_json, read_json

STAGE = "stage.json"
SHOWN = 3
"""Differences named in an error."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a build in its output folder."""

    name: str
    """Of its folder, with its number: "4-drafts"."""
    out: Path
    """The build's folder."""
    settings: Mapping[str, Any]
    """Its part of the recipe as plain JSON: {"instructions": {"per_photo": 2}}."""
    inputs: Mapping[str, str]
    """Hashes of external inputs, by recipe key."""
    before: str
    """Key of the previous stage; "" for the first."""
    also: tuple[str, ...] = ()
    """Further folders in `out` that it writes."""

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.out / self.name

    @property
    def key(self) -> str:
        """SHA-256 (hex) of everything that the stage depends on."""
        return hashlib.sha256(dump_json([self.settings, self.inputs, self.before]).encode()).hexdigest()

    @property
    def record(self) -> dict[str, Any] | None:
        """Content of stage.json; None before the stage was begun."""
        path = self.folder / STAGE
        if not path.exists():
            return None
        record: dict[str, Any] = read_json(path)
        return record

    @property
    def done(self) -> bool:
        """Whether the stage has finished."""
        record = self.record
        return record is not None and "counts" in record

    def begin(self) -> None:
        """Create the folders and stage.json, and remove temporary files that a kill left; a begun stage resumes."""
        for name in (self.name, *self.also):
            (self.out / name).mkdir(exist_ok=True)
            for path in (self.out / name).glob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)
        if self.record is None:
            self._write()

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Record the counts and that the stage is finished."""
        self._write(counts=dict(counts))

    def _write(self, **more: Any) -> None:
        record = {"key": self.key, "settings": self.settings, "inputs": self.inputs, **more}
        atomic_write(self.folder / STAGE, dump_json(record))

    def counts(self) -> dict[str, Any]:
        """The counts of a finished stage."""
        record = self.record
        assert record is not None, f"{self.name} was not begun"
        counts: dict[str, Any] = record["counts"]
        return counts

    def remove(self) -> None:
        """Remove everything it wrote; stage.json goes last, so that a kill leaves it stale."""
        for name in self.also:
            shutil.rmtree(self.out / name, ignore_errors=True)
        if self.folder.exists():
            for path in self.folder.iterdir():
                if path.name != STAGE:
                    path.unlink()
            shutil.rmtree(self.folder)


def refuse_stale_stages(stages: Sequence[Stage], *, update: bool, before: Callable[[], object] = int) -> list[str]:
    """Refuse or remove the stages on disk whose recipe or inputs have changed.

    Args:
        stages: All, in order.
        update: Remove them instead of refusing.
        before: Called before anything is removed.

    Returns:
        The names of removed stages.

    Raises:
        HPEditError: a stage is stale and `update` is False; it says what has changed.
    """
    stale = [stage for stage in stages if (record := stage.record) is not None and record["key"] != stage.key]
    if not stale:
        return []
    if not update:
        changes = [(stage.name, phrase) for stage in stale for phrase in _changes(stage)]
        first = f"{stale[0].name} ({_shown([phrase for _, phrase in changes])})"
        after = f" and after it {', '.join(stage.name for stage in stale[1:])}" if stale[1:] else ""
        raise HPEditError(
            f"{stages[0].out} was built with another recipe or input; stale: {first}{after}",
            hint="--update rebuilds these stages and keeps the others; or choose another output",
        )
    before()
    for stage in reversed(stale):
        stage.remove()
    return [stage.name for stage in stale]


def _shown(phrases: Sequence[str]) -> str:
    if not phrases:
        return "an earlier stage is missing"
    more = len(phrases) - SHOWN
    return "; ".join(phrases[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _changes(stage: Stage) -> Iterator[str]:
    """Differences between a stage on disk and the current recipe, apart from earlier stages."""
    record = stage.record
    assert record is not None
    old, new = dict(_leaves(record["settings"])), dict(_leaves(stage.settings))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} was {json.dumps(old.get(name))}, is {json.dumps(new.get(name))}"
    for name in sorted(record["inputs"].keys() | stage.inputs.keys()):
        if record["inputs"].get(name) != stage.inputs.get(name) and name in record["inputs"] and name in stage.inputs:
            yield f"{name} has changed"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its override name: instructions.per_photo, sources[0].folder."""
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{name}[{number}]")
    else:
        # Through JSON, where a tuple is a list.
        yield name, json.loads(json.dumps(value))
