"""Output folder of a stage: its recipe, result, metrics and log, with a lock, and resuming.

The same command on the same folder resumes; a different recipe or different inputs are refused with a line that says
what differs. `recipe.json` (written first) marks a folder as a run folder, `result.json` (written last) as done.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

from hpedit import __version__
from hpedit.errors import HPEditError
from hpedit.store.atomic import (
    TEMPORARY,
    append_jsonl,
    atomic_write,
    dump_json,
    jsonl_line,
    read_json,
    read_jsonl,
    write_json,
)

RECIPE = "recipe.json"
RESULT = "result.json"
METRICS = "metrics.jsonl"
LOG = "log.txt"
FAULTY = "faulty"
"""Subfolder for batches whose update failed."""
SCRATCH = (LOG, "cases_index.json", "conditioning", "tensorboard")
"""What a stage may write before its first result: caches of its inputs and logs."""
_ITERATION = re.compile(r"iteration_(\d+)")
_LOCK = ".lock"
_SHOWN_DIFFERENCES = 3


class RunFolder:
    """The open output folder of a stage, locked until `close`, the end of a `with` block, or of the process.

    with RunFolder.open("runs/x/train", "train", recipe, {"cases": hash_path(cases)}) as run:
        if not run.done:
            run.metrics({"step": 1, "reward": 0.4})
            run.finish({"gain": 0.2})
        result = run.result()
    """

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: Path | str,
        stage: str,
        recipe: Mapping[str, Any],
        inputs: Mapping[str, str] | None = None,
        free: Collection[str] = (),
    ) -> RunFolder:
        """Create a run folder, or open it to resume.

        Args:
            path: The folder; missing parents are created.
            stage: Name of the stage; another stage can't resume the folder.
            recipe: All settings that affect the result, as plain JSON.
            inputs: Name to content hash (`hash_path`) of each input.
            free: Dotted keys of the recipe that are not compared, such as where an input lies; see `reopen`.

        Raises:
            HPEditError: It is a file, not a run folder, not writable, in use, or has another recipe or other inputs.
        """
        path = Path(path)
        asked = json.loads(dump_json({"stage": stage, "recipe": dict(recipe), "inputs": dict(inputs or {})}))
        try:
            _refuse_foreign_folder(path)
            path.mkdir(parents=True, exist_ok=True)
            lock = _lock_folder(path)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            _sweep(path)
            _claim_folder(path, asked, free, again=_is_bare(path, stage))
        except BaseException:
            lock.close()
            raise
        return cls(path, lock)

    @property
    def done(self) -> bool:
        """Whether the stage has finished here."""
        return (self.path / RESULT).exists()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, which marks the stage as done."""
        write_json(self.path / RESULT, dict(result))

    def reopen(self, recipe: Mapping[str, Any], *, go_on: bool) -> None:
        """Keep the newest values of free keys, and, to `go_on`, take the result away."""
        there = read_json(self.path / RECIPE)
        asked = json.loads(dump_json(dict(recipe)))
        if go_on:
            (self.path / RESULT).unlink(missing_ok=True)
        if there["recipe"] != asked:
            write_json(self.path / RECIPE, there | {"recipe": asked})

    def result(self) -> dict[str, Any]:
        """The result of a finished stage; HPEditError if it is not done."""
        if not self.done:
            raise HPEditError(f"{self.path} is not finished", hint="run the same command again to resume it")
        result: dict[str, Any] = read_json(self.path / RESULT)
        return result

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append a record to metrics.jsonl, flushed to disk."""
        append_jsonl(self.path / METRICS, record)

    def drop_metrics_after(self, step: int, file: str = METRICS) -> None:
        """Remove records of `file` with a "step" after `step`: a resumed run writes them again."""
        records = read_jsonl(self.path / file)
        kept = [record for record in records if record.get("step", step) <= step]
        if len(kept) != len(records):
            text = "".join(jsonl_line(record) for record in kept)
            atomic_write(self.path / file, text)

    def drop_iterations_after(self, step: int) -> None:
        """Remove iteration_NNNNNN* after `step` in subfolders, but no failed batch: a resumed run rewrites them."""
        for path in sorted(self.path.glob("*/iteration_*")):
            number = _ITERATION.match(path.name)
            if number and int(number[1]) > step and path.parent.name != FAULTY:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def log(self, message: str) -> None:
        """Append a line with the UTC time to log.txt."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{now} {message}\n")

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_folder(path: Path | str, stage: str, recipe: Mapping[str, Any], free: Collection[str] = ()) -> None:
    """Check that `RunFolder.open` would accept the folder, without changing anything; inputs are not compared.

    HPEditError as in `RunFolder.open`.
    """
    path = Path(path)
    try:
        _refuse_foreign_folder(path)
        if (path / _LOCK).exists():
            _lock_folder(path).close()
        if (path / RECIPE).exists():
            there = read_json(path / RECIPE)
            inputs = there.get("inputs") if isinstance(there, dict) else None
            asked = json.loads(dump_json({"stage": stage, "recipe": dict(recipe), "inputs": inputs}))
            if not _is_bare(path, stage):
                _claim_folder(path, asked, free)
    except OSError as error:
        raise _unusable(path, error) from error


def hash_path(path: Path | str, ignore: Collection[str] = ()) -> str:
    """SHA-256 (hex) of a file, or of the names and contents of all visible files below a folder.

    `ignore`: names of files directly in the folder that do not count.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise HPEditError(f"{path} does not exist")
    digest = hashlib.sha256()
    for file_path in sorted(path.rglob("*")):
        relative = file_path.relative_to(path)
        hidden = any(part.startswith(".") for part in relative.parts) or relative.as_posix() in ignore
        if file_path.is_file() and not hidden:
            digest.update(f"{relative.as_posix()}\0{hash_path(file_path)}\n".encode())
    return digest.hexdigest()


def _unusable(path: Path, error: OSError) -> HPEditError:
    return HPEditError(f"{path} cannot be used as an output folder: {error.strerror}", hint="choose another one")


def _refuse_foreign_folder(path: Path) -> None:
    """HPEditError if `path` is a file, a dangling link, or a non-empty folder that is not a run folder."""
    if path.is_symlink() and not path.exists():
        raise HPEditError(f"{path} is a link to nothing", hint="remove the link or create its target")
    if not path.exists():
        return
    if not path.is_dir():
        raise HPEditError(f"{path} is a file, not a folder", hint="choose another output folder")
    names = os.listdir(path)
    # A kill before recipe.json was written leaves only the lock and a temporary file.
    theirs = sorted(name for name in names if name != _LOCK and not name.startswith(TEMPORARY))
    if theirs and RECIPE not in names:
        raise HPEditError(f"{path} is not empty and not a run folder: it has {theirs[0]}", "choose an empty folder")


def _lock_folder(path: Path) -> IO[bytes]:
    lock = (path / _LOCK).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise HPEditError(f"{path} is in use by another process", "wait for it, or choose another folder") from error
    return lock


def _sweep(path: Path) -> None:
    """Remove temporary files that a killed run left in the folder and directly below; the caller holds its lock."""
    for leftover in (*path.glob(f"{TEMPORARY}*"), *path.glob(f"*/{TEMPORARY}*")):
        # A folder with a lock of its own may be another process's, which is writing.
        if leftover.is_file() and (leftover.parent == path or not (leftover.parent / _LOCK).exists()):
            leftover.unlink(missing_ok=True)


def _is_bare(path: Path, stage: str) -> bool:
    """Whether a stage was refused here before it had made anything, so that a corrected recipe may take the folder."""
    there = read_json(path / RECIPE) if (path / RECIPE).is_file() else None
    if not isinstance(there, dict) or there.get("stage") != stage:
        return False
    names = {name for name in os.listdir(path) if not name.startswith(TEMPORARY)} - {RECIPE, _LOCK, *SCRATCH}
    return all((path / name).is_dir() and not any((path / name).iterdir()) for name in names)


def _claim_folder(path: Path, asked: dict[str, Any], free: Collection[str], *, again: bool = False) -> None:
    """Mark a new folder with its recipe, or compare the recipe with the folder's own, apart from its keys in `free`.

    With `again` a folder with another recipe is marked anew, and loses the caches that were made for it.
    """
    file = path / RECIPE
    if not file.exists():
        write_json(file, {**asked, "hpedit": __version__})
        return
    there = read_json(file)
    if not isinstance(there, dict) or not asked.keys() <= there.keys():
        raise HPEditError(f"{file} is not a recipe of this program", hint="choose another output folder")
    there.pop("hpedit", None)
    changes = _recipe_differences(there, asked, frozenset(f"recipe.{key}" for key in free))
    if changes and again:
        for name in SCRATCH:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            elif name != LOG:
                (path / name).unlink(missing_ok=True)
        write_json(file, {**asked, "hpedit": __version__})
        return
    if changes:
        more = len(changes) - _SHOWN_DIFFERENCES
        listed = "; ".join(changes[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        hint = "choose another output folder, or remove this one"
        raise HPEditError(f"{path} was made with another recipe or other inputs: {listed}", hint)


def _recipe_differences(old: Any, new: Any, free: Collection[str], key: str = "") -> list[str]:
    """A phrase for each leaf that differs, with its dotted key; those in `free` may."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        return [
            phrase
            for name in names
            for phrase in _recipe_differences(old.get(name), new.get(name), free, f"{key}.{name}" if key else name)
        ]
    if old == new or key in free:
        return []
    if key.startswith("inputs."):
        return [f"{key.removeprefix('inputs.')} has other content"]
    return [f"{key} was {json.dumps(old)}, is now {json.dumps(new)}"]
