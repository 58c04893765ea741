"""Paths of the mini weights shipped with the package; `hpedit mini build` trains them."""

from __future__ import annotations

from pathlib import Path

from hpedit.errors import HPEditError

FOLDER = Path(__file__).parents[1] / "mini" / "checkpoints"


def _shipped(name: str, marker: str) -> Path:
    """Folder of a shipped model; HPEditError if it lacks the file `marker`."""
    folder = FOLDER / name
    if not (folder / marker).is_file():
        raise HPEditError(f"the mini {name} is not in {folder}", "reinstall the package, or run: hpedit mini build")
    return folder


def editor_path() -> Path:
    """Folder of the mini editor, a complete diffusers pipeline."""
    return _shipped("editor", "model_index.json")


def judge_path() -> Path:
    """Folder of the mini judge, a complete Qwen2.5-VL with its processor."""
    return _shipped("judge", "config.json")
