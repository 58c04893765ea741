"""What a dataset's card tells of its build, and the recipe without what only this machine knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpedit.cases.recipe import KINDS, CasesRecipe

Counts = Mapping[tuple[str, str], int]
"""Cases by (task, category); category "" where there is none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the build knows and the card tells."""

    total: int
    """Cases of the dataset, at least 1."""
    stages: Mapping[str, Mapping[str, int]]
    """Counts of each stage by its name, in the order of the stages: {"1-photos": {"photos": 90, "skipped": 2}, ...}."""
    distributions: Mapping[str, Counts]
    """One to three, from first to last: {"written": ..., "balanced": ..., "kept": ...}; the last is the dataset's."""
    decisions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Cases by task and reason, as `hardness.count_fates` gives them; empty without a filter."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Photographs and drafts left out before the filter, by reason in a few words."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of what took part, by its part: {"editor": ..., "scorer": ..., "labels": ..., "instructions": ...}."""


@dataclass(slots=True)
class Content:
    """What is counted while the shards are written."""

    licences: Counter[str] = field(default_factory=Counter)
    """Cases by licence of the photograph; "" = none is stated."""
    photos: dict[int, set[str]] = field(default_factory=dict)
    """Names of the photographs of each source, by its number in the recipe."""
    cases: Counter[int] = field(default_factory=Counter)
    """Cases by the number of their source."""
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
    """The recipe as plain data, without `output` and with the last part of each path alone.

    A source keeps the keys that it was given. A hub id stays as it is, and so does the name of a server's model.
    """
    public = recipe.model_dump(mode="json", exclude={"output"})
    paths = {*KINDS, "photos", "objects"} - {"mini"}
    public["sources"] = [
        {name: _last(value) if name in paths else value for name, value in section.items() if value is not None}
        for section in public["sources"]
    ]
    public["duplicates"]["exclude"] = [_last(path) for path in public["duplicates"]["exclude"]]
    public["filter"]["scorer"] = _last(public["filter"]["scorer"])
    public["edits"]["lora"] = _last(public["edits"]["lora"])
    public["instructions"]["objects"] = _last(public["instructions"]["objects"])
    for part, name in (("labels", "model"), ("instructions", "model"), ("edits", "editor")):
        public[part][name] = _model(public[part][name])
    return public


def _last(path: str | None) -> str | None:
    """The last part of a path, of this system or of Windows."""
    return None if path is None else re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _model(name: str | None) -> str | None:
    """A hub id ("Qwen/Qwen3-VL-8B-Instruct") or "mini" as it is, else a path's last part, or a server's model."""
    if name is None:
        return None
    if name.startswith(("http://", "https://")):
        return name.partition("#")[2]
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", name) is not None
    return name if is_id else _last(name)
