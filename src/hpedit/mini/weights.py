"""Where the shipped mini weights lie, and how a mini editor of another kind is made.

The shipped ones are built by `hpedit mini build`; docs/mini.md tells how long and from what seed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hpedit.errors import HPEditError

FOLDER = Path(__file__).parent / "checkpoints"
EDITORS = ("qwen-image-edit-plus", "qwen-image-edit", "flux-kontext")
"""Kinds of mini editors. The first is the shipped one, the second has its weights, the third has random weights."""


def _shipped(name: str, marker: str) -> Path:
    """The folder of a shipped model; HPEditError where it does not hold the file `marker`."""
    folder = FOLDER / name
    if not (folder / marker).is_file():
        raise HPEditError(
            f"the mini {name} is not in {folder}", hint="install the package whole, or run: hpedit mini build"
        )
    return folder


def editor_path() -> Path:
    """Folder of the mini editor, a complete diffusers pipeline."""
    return _shipped("editor", "model_index.json")


def judge_path() -> Path:
    """Folder of the mini judge, a complete Qwen2.5-VL with its processor."""
    return _shipped("judge", "config.json")


def make_editor(kind: str, folder: Path) -> None:
    """Write a mini editor of one of `EDITORS` to `folder`.

    Raises:
        HPEditError: an unknown kind, or `folder` is there already.
    """
    if kind not in EDITORS:
        raise HPEditError(f"unknown mini editor {kind!r}", hint=f"one of {', '.join(EDITORS)}")
    if folder.exists():
        raise HPEditError(f"{folder} is there already", hint="name a folder that is not")
    if kind == "flux-kontext":
        from hpedit.quiet import quiet_loading

        with quiet_loading():  # the import talks too
            from hpedit.mini.kontext import make_mini_kontext

            make_mini_kontext(folder)
    elif kind == "qwen-image-edit":
        from hpedit.mini.qwen_edit import make_mini_qwen_edit

        make_mini_qwen_edit(folder)
    else:
        shutil.copytree(editor_path(), folder)
