"""Where the shipped mini weights lie, and how a mini editor of another kind is made.

The shipped ones are built by `hpedit mini build`; docs/mini.md tells how long and from what seed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.store.shipped import editor_path

EDITORS = ("qwen-image-edit-plus", "qwen-image-edit", "flux-kontext")
"""Kinds of mini editors. The first is the shipped one, the second has its weights, the third has random weights."""


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
        from hpedit.progress import quiet_loading

        with quiet_loading():  # the import talks too
            from hpedit.mini.kontext import make_mini_kontext

            make_mini_kontext(folder)
    elif kind == "qwen-image-edit":
        from hpedit.mini.qwen_edit import make_mini_qwen_edit

        make_mini_qwen_edit(folder)
    else:
        shutil.copytree(editor_path(), folder)
