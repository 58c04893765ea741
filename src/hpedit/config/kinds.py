"""Which command a recipe is for, by its keys, so that a recipe of another command is named as such. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hpedit.config.yaml_source import read_yaml

RUN, TRAIN, CASES = "hpedit run", "hpedit train", "hpedit cases build"
KEYS: Final[Mapping[str, Mapping[str, type]]] = {
    CASES: {"sources": list},
    RUN: {"judge": str, "cases": dict},
    TRAIN: {"cases": str, "scorer": str},
}
"""Command -> keys that its recipes must have, with their types, and that tell them from the others'."""


def recipe_command(data: Any) -> str | None:
    """The command that a recipe's data is for; None if its keys do not tell."""
    return next((command for command in KEYS if has_keys_of(command, data)), None)


def has_keys_of(command: str, data: Any) -> bool:
    """Whether a recipe's data has the keys that those of a command must have."""
    return isinstance(data, dict) and all(isinstance(data.get(name), kind) for name, kind in KEYS[command].items())


def command_of(path: Path | str) -> str | None:
    """The command that a recipe file is for; HPEditError if it can't be read."""
    return recipe_command(read_yaml(path).data)
