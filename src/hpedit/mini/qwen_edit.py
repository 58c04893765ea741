"""The mini editor as a Qwen-Image-Edit of the first kind: the same weights behind QwenImageEditPipeline.

The weights were trained on the prompt of QwenImageEditPlusPipeline ("Picture 1: ..."), so its edits are worse. It is
what every promise about Qwen-Image-Edit is tested on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from diffusers import QwenImageEditPipeline

from hpedit.store.shipped import editor_path


def make_mini_qwen_edit(folder: Path) -> None:
    """Copy the shipped mini editor to `folder`, which must not exist, as a QwenImageEditPipeline."""
    shutil.copytree(editor_path(), folder)
    index = folder / "model_index.json"
    told = json.loads(index.read_text()) | {"_class_name": QwenImageEditPipeline.__name__}
    index.write_text(json.dumps(told, indent=2) + "\n")
