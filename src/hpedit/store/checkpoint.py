"""Save and load training checkpoints that survive a kill at any moment.

A checkpoint is a folder `step_000012`: a safetensors file per group of tensors, `state.json`, and `manifest.json` with
the SHA-256 of each. It is written under a temporary name, the manifest last, flushed to disk and then renamed. A reader
accepts only a folder whose files match its manifest, and otherwise warns and takes the one before.

One process writes at a time (`store.run_folder` holds the lock).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.store.atomic import dump_json, fsync_path, read_json

logger = logging.getLogger(__name__)

_FOLDER = re.compile(r"step_(\d{6,})")
_MANIFEST = "manifest.json"
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded, verified checkpoint. Tensors are on the CPU."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    path: Path


def save_checkpoint(
    root: Path | str, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 3
) -> Path:
    """Write the checkpoint `root/step_<step>` and remove all but the `keep` newest good ones.

    Args:
        root: Folder of the checkpoints; created if missing.
        step: Iterations done, 0 or more.
        tensors: Group name (letters, digits, _ and -) to named tensors on any device.
        state: Plain JSON: dicts with string keys, lists, numbers, strings, booleans, None; no NaN.
        keep: How many to keep, this one included; at least 1.

    Raises:
        HPEditError: There is a good checkpoint of this step with other content; it is left alone.
        OSError, SafetensorError: It can't be written; the other checkpoints are unchanged.
    """
    assert keep >= 1
    assert step >= 0
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(root)
    final = root / f"step_{step:06d}"
    building = Path(tempfile.mkdtemp(dir=root, prefix=f"{final.name}.tmp-"))
    try:
        _write_checkpoint_files(building, step, tensors, state)
    except BaseException:
        # On a full disk, half a checkpoint takes the space that the next try needs.
        shutil.rmtree(building, ignore_errors=True)
        raise
    if final.exists() and not _clear_damaged(final, building):
        return final
    building.rename(final)
    fsync_path(root)
    _remove_old_checkpoints(root, step, keep)
    return final


def load_latest(root: Path | str) -> Checkpoint | None:
    """Load the newest good checkpoint under `root`; None if there is none.

    A damaged one is logged as a warning and skipped; it stays on disk. Other names are ignored.
    """
    steps = _checkpoint_steps(Path(root))
    for step, path in reversed(steps):
        trouble = find_damage(path)
        if not trouble:
            # Only what the manifest names: a file that somebody put beside it is not part of the checkpoint.
            named = sorted(name for name in read_json(path / _MANIFEST)["files"] if name.endswith(".safetensors"))
            groups = {Path(name).stem: load_file(path / name) for name in named}
            return Checkpoint(step, groups, read_json(path / _STATE), path)
        logger.warning("checkpoint passed over: %s", trouble)
    if steps:
        logger.warning("%s: none of the %d checkpoints is whole", root, len(steps))
    return None


def list_checkpoints(root: Path | str) -> list[Path]:
    """Folders of all checkpoints under `root`, oldest first, good or damaged."""
    return [path for _, path in _checkpoint_steps(Path(root))]


def find_damage(path: Path) -> str:
    """Damage of the checkpoint folder `path`, with the file's name; "" if every file matches the manifest."""
    try:
        manifest = read_json(path / _MANIFEST)
        files = manifest["files"]
        if f"step_{manifest['step']:06d}" != path.name:
            return f"{path / _MANIFEST} is of another step"
        if _STATE not in files or any(Path(name).name != name for name in files):
            return f"{path / _MANIFEST} lists no {_STATE} or a file outside the folder"
        for name, expected in files.items():
            if _sha256(path / name) != expected:
                return f"{path / name} does not have the SHA-256 that {_MANIFEST} gives (truncated or altered)"
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except HPEditError as error:
        return error.message
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"{path / _MANIFEST} is not a manifest"
    return ""


def _write_checkpoint_files(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    text = dump_json(state)
    # A tuple or an integer key would be read back as something else, and the resumed run would differ.
    assert json.loads(text) == state, "checkpoint state is not plain JSON"
    for group, named in tensors.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]+", group), group
        # Copy each tensor: safetensors refuses tensors that share memory.
        owned = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in named.items()}
        save_file(owned, folder / f"{group}.safetensors")
    (folder / _STATE).write_text(text, encoding="utf-8")
    written = sorted(folder.iterdir())
    for file in written:
        fsync_path(file)
    sums = {file.name: _sha256(file) for file in written}
    (folder / _MANIFEST).write_text(dump_json({"step": step, "files": sums}), encoding="utf-8")
    fsync_path(folder / _MANIFEST)
    folder.chmod(0o755)
    fsync_path(folder)


def _clear_damaged(final: Path, building: Path) -> bool:
    """Remove a damaged checkpoint at `final`: True. If there is an equal good one, drop the new one: False."""
    if find_damage(final):
        _remove_checkpoint(final)
        return True
    equal = (final / _MANIFEST).read_bytes() == (building / _MANIFEST).read_bytes()
    _remove_checkpoint(building)
    if not equal:
        raise HPEditError(f"{final} already holds another checkpoint", hint="use a separate folder for each run")
    return False


def _remove_old_checkpoints(root: Path, step: int, keep: int) -> None:
    """Remove older checkpoints: all but the `keep` - 1 newest good ones before `step`, which itself is good."""
    kept = 1
    for other, path in reversed(_checkpoint_steps(root)):
        if other >= step:
            continue
        if kept < keep and not find_damage(path):
            kept += 1
        else:
            _remove_checkpoint(path)


def _remove_checkpoint(folder: Path) -> None:
    """Rename, then delete, so that a kill in between leaves no half checkpoint; a failure only warns."""
    try:
        doomed = folder if ".tmp-" in folder.name else folder.rename(folder.with_name(f"{folder.name}.tmp-old"))
        shutil.rmtree(doomed)
    except OSError as error:
        logger.warning("%s could not be removed: %s", folder, error)


def _remove_leftovers(root: Path) -> None:
    for path in sorted(root.glob("step_*.tmp-*")):
        _remove_checkpoint(path)


def _checkpoint_steps(root: Path) -> list[tuple[int, Path]]:
    """The checkpoint folders under `root`, oldest first."""
    if not root.is_dir():
        return []
    matches = [(_FOLDER.fullmatch(path.name), path) for path in root.iterdir() if path.is_dir()]
    return sorted((int(match[1]), path) for match, path in matches if match)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
