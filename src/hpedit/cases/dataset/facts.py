"""Facts of a build for its dataset card, and the recipe without paths of this machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpedit.cases.recipe import KINDS, CasesRecipe

Counts = Mapping[tuple[str, str], int]
"""Cases by (task, category); "" = no category."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts and fingerprints of a build for its dataset card."""

    total: int
    """Cases of the dataset, at least 1."""
    stages: Mapping[str, Mapping[str, int]]
    """Counts of each stage by its name, in the order of the stages: {"1-photos": {"photos": 90, "skipped": 2}, ...}."""
    distributions: Mapping[str, Counts]
    """One to three, from first to last: {"written": ..., "balanced": ..., "kept": ...}; the last is the dataset's."""
    decisions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Filter decisions by task and reason, see `count_decisions`; empty without a filter."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Photographs and instruction candidates left out before the filter, by reason."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of the models, by role: {"editor": ..., "scorer": ..., "labels": ..., "instructions": ...}."""


@dataclass(slots=True)
class Content:
    """Counts of the dataset's content, taken while the shards are written."""

    licences: Counter[str] = field(default_factory=Counter)
    """Cases by licence of the photograph; "" = unknown."""
    photos: dict[int, set[str]] = field(default_factory=dict)
    """Photograph names by source number."""
    cases: Counter[int] = field(default_factory=Counter)
    """Cases by source number."""
    languages: Counter[str] = field(default_factory=Counter)
    """Cases by language of the instruction; "" = unknown."""
    exact: int = 0
    """Cases with an exact target."""
    bytes: int = 0
    """Of all shards."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row of the dataset."""
        # A photograph's name begins with the number of its source, see `photos.Photo`.
        source = int(str(row["photo"]).partition("/")[0])
        self.licences[row["licence"] or ""] += 1
        self.photos.setdefault(source, set()).add(row["photo"])
        self.cases[source] += 1
        self.languages[row["language"] or ""] += 1
        self.exact += row["target"] is not None


def public_recipe(recipe: CasesRecipe) -> dict[str, Any]:
    """The recipe as plain data without paths of this machine: no `output`, only the last part of other paths.

    Sources keep the keys that were set; hub ids and names of server models stay.
    """
    public = recipe.model_dump(mode="json", exclude={"output"})
    paths = {*KINDS, "photos", "objects"} - {"mini"}
    public["sources"] = [
        {
            name: _last(value) if name in paths else value
            for name, value in section.items()
            if value not in (None, {}, [])
        }
        for section in public["sources"]
    ]
    public["edits"] = recipe.edits.shaping()
    public["duplicates"]["exclude"] = [_last(path) for path in public["duplicates"]["exclude"]]
    for part, name in (("filter", "scorer"), ("edits", "lora"), ("instructions", "objects")):
        public[part][name] = _last(public[part][name])
    for part, name in (("labels", "model"), ("instructions", "model")):
        public[part][name] = _model(public[part][name])
    editor = public["edits"]["editor"]
    if editor is not None:
        public["edits"]["editor"] = _editor(editor) if isinstance(editor, dict) else _model(editor)
    return public


def _editor(section: dict[str, Any]) -> dict[str, Any]:
    loras = [_last(path) for path in section.get("frozen_loras", ())]
    return section | {"model": _model(section["model"])} | ({"frozen_loras": loras} if loras else {})


def _last(path: str | None) -> str | None:
    """The last part of a POSIX or Windows path."""
    return None if path is None else re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _model(name: str | None) -> str | None:
    """A hub id ("Qwen/Qwen3-VL-8B-Instruct") or "mini" unchanged, else a path's last part or a server's model."""
    if name is None:
        return None
    if name.startswith(("http://", "https://")):
        return name.partition("#")[2]
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) is not None
    return name if is_id else _last(name)
