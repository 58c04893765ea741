"""What is usual for a model: its resolution, and the sampling steps and guidance with which it is used.

No torch, unless it is asked what device there is.

The defaults of `hpedit edit` and of benchmarks are the model's own; those of training are the recipe's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.config.editor import EditorSection
from hpedit.store.atomic import read_json
from hpedit.store.shipped import editor_path

SETTINGS_NAME = "hpedit.json"
"""In a model's folder: resolution, source_area and condition_area; steps and cfg of its use."""
DEFAULT_RESOLUTION = 512
"""px; the resolution at which public edit recipes train."""
MINIATURE = 64
"""px: a model whose hpedit.json has at most this resolution is a miniature."""


@dataclass(frozen=True, slots=True)
class UsualSampling:
    """With how many sampling steps, and which classifier-free guidance, a model is used."""

    steps: int
    cfg: float
    """Scale; 1 is off."""


MINI = UsualSampling(8, 1.0)
"""Of the mini editor and the other miniatures of `hpedit mini`."""


def usual_by_name(model: str) -> UsualSampling:
    """Steps and guidance of an editor that is known by its name alone, before anything is loaded or downloaded."""
    if model == "mini":
        return MINI
    # Kontext has its guidance in the transformer; the Qwen editors take classifier-free guidance.
    family = UsualSampling(28, 1.0) if "kontext" in model.lower() else UsualSampling(40, 4.0)
    return usual_sampling(Path(model), family)


def folder_settings(folder: Path) -> dict[str, Any]:
    """The content of a folder's hpedit.json; {} without one."""
    path = folder / SETTINGS_NAME
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found


def usual_sampling(folder: Path, family: UsualSampling) -> UsualSampling:
    """Steps and guidance by a folder's hpedit.json, else those of miniatures, else the family's."""
    own = folder_settings(folder)
    usual = MINI if 0 < int(own.get("resolution", 0)) <= MINIATURE else family
    return UsualSampling(int(own.get("steps", usual.steps)), float(own.get("cfg", usual.cfg)))


def on_accelerator(device: str) -> bool:
    """Whether an editor of this `device` setting is on an accelerator; one that is named need not be here."""
    if device != "auto":
        return device != "cpu"
    import torch

    return bool(torch.accelerator.is_available())


def settle_dtype(section: EditorSection, *, accelerator: bool) -> EditorSection:
    """The section with the dtype that `auto` stands for."""
    if section.dtype != "auto":
        return section
    return section.model_copy(update={"dtype": "bfloat16" if accelerator else "float32"})


def settle(section: EditorSection, *, accelerator: bool) -> EditorSection:
    """The section with dtype and resolution as they will be: what a run's folder records.

    Args:
        section: Of a recipe; `auto` and a resolution that is left out are filled in.
        accelerator: Whether it will be on an accelerator.
    """
    section = settle_dtype(section, accelerator=accelerator)
    if section.resolution is not None:
        return section
    folder = editor_path() if section.model == "mini" else Path(section.model)
    resolution = int(folder_settings(folder).get("resolution", DEFAULT_RESOLUTION))
    return section.model_copy(update={"resolution": resolution})
