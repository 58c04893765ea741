"""Records of whole groups for inspection: source, instruction, edits, scores, the judge's answers, advantages.

    groups/iteration_000010.parquet         a row an edit; `datasets` shows the pictures

Pictures above 384 px are reduced, and only the first and the newest records are kept, so that a long run stays small.
`hpedit report RUN` makes pages of them.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from hpedit.config.recipe import Recipe
from hpedit.records import Case
from hpedit.rl.online import Experience
from hpedit.rl.parallel.processes import ProcessGroup
from hpedit.rl.rewards import Scores, rewards_of
from hpedit.store.json_text import decode_json
from hpedit.store.tables import IMAGE, SOURCES, read_parquet_table, write_parquet_table

GROUPS = "groups"
LOSSLESS_UP_TO = 128
"""px of the longest side up to which pictures are kept as they are."""
LARGEST = 384
"""px of the longest side of what is kept; 144 edits of that size are some 5 MB."""

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "group": pa.int64(),
    "case_id": pa.string(),
    "task": pa.string(),
    "instruction": pa.string(),
    **dict.fromkeys(SOURCES, IMAGE),
    "image": IMAGE,
    "scores": pa.string(),
    "advantage": pa.float64(),
    "state": pa.string(),
}
"""Of a record. The sources stand in a group's first row; `scores` is JSON, by the reward's name."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One edit of a group record."""

    id: str
    group: int
    case_id: str
    task: str
    instruction: str
    sources: tuple[bytes, ...]
    """Encoded pictures; empty but in a group's first row."""
    image: bytes
    scores: Mapping[str, Mapping[str, Any]]
    """Reward's name -> value, std, reason, raw (the judge's answers) and reward."""
    advantage: float
    state: str
    """"used", "left out" (no score, or a zero-variance group) or "replaced" (by dynamic sampling)."""


class GroupLog:
    """Records all groups of edits every so many iterations; an observer of `hpedit.rl.monitor.observer`."""

    def __init__(self, run: Path, recipe: Recipe, processes: ProcessGroup) -> None:
        self.folder, self.recipe, self.processes = run / GROUPS, recipe, processes

    def after(self, iteration: int, made: Experience | None) -> dict[str, Any]:
        """Record the first and last iteration, and those in between that are due."""
        done, every = iteration + 1, self.recipe.log.groups_every
        if done % every and done not in (1, self.recipe.train.iterations):
            return {}
        rows = list(_rows(made, self.recipe.rollout.group_size)) if made is not None else []
        everybody = [row for part in self.processes.gather(rows) for row in part]
        if everybody and self.processes.rank == 0:
            everybody.sort(key=lambda row: str(row["id"]))
            self.folder.mkdir(exist_ok=True)
            keyed = ((row["id"], _with_pictures(row)) for row in everybody)
            write_parquet_table(self.folder / f"iteration_{done:06d}.parquet", COLUMNS, keyed)
            self._retire()
        return {}

    def _retire(self) -> None:
        files = sorted(self.folder.glob("iteration_*.parquet"))
        for file in files[1 : len(files) - self.recipe.log.groups_keep + 1]:
            file.unlink()


def read_group_log(file: Path) -> list[list[GroupRow]]:
    """Read the groups of one record; HPEditError for a file that is not one."""
    groups: dict[int, list[GroupRow]] = {}
    for row in read_parquet_table(file, COLUMNS, _row_of):
        groups.setdefault(row.group, []).append(row)
    return list(groups.values())


def _rows(made: Experience, size: int) -> Iterator[dict[str, Any]]:
    for position, (number, case) in enumerate(zip(made.groups, made.cases, strict=True)):
        replaced = position in made.replaced
        for member in range(size):
            edit = position * size + member
            state = "replaced" if replaced else "used" if made.active[edit] else "left out"
            yield {
                "id": f"{number:04d}-{member:04d}",
                "group": number,
                "case_id": case.id,
                "task": case.task,
                "instruction": case.instruction,
                **(_sources(case) if member == 0 else {}),
                "image": _encoded(made.images[edit]),
                "scores": _scores_text(made.scores[edit]),
                "advantage": float(made.values[edit]),
                "state": state,
            }


def _sources(case: Case) -> dict[str, Any]:
    return {name: _encoded(image) for name, image in zip(SOURCES, case.sources, strict=False)}


def _scores_text(scores: Scores) -> str:
    rewards = rewards_of([scores]) if scores else {}
    texts = {
        name: {
            "value": one.value,
            "std": one.std,
            "reason": one.reason,
            "raw": {question: answer if math.isfinite(answer) else None for question, answer in one.raw.items()},
            "reward": rewards[name][0],
        }
        for name, one in scores.items()
    }
    return json.dumps(texts, ensure_ascii=False, allow_nan=False)


def _with_pictures(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its pictures as parquet cells."""
    pictures = {name: base64.b64decode(row[name]) for name in (*SOURCES, "image") if name in row}
    return {**row, **{name: {"bytes": data, "path": None} for name, data in pictures.items()}}


def _encoded(image: Image.Image) -> str:
    """The picture, downscaled if large, as base64: what is gathered from other processes travels as JSON."""
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_UP_TO:
        image.save(buffer, "PNG")
    else:
        small = image.convert("RGB")
        small.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        small.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode()


def _row_of(row: Mapping[str, Any]) -> GroupRow:
    pictures: Sequence[bytes] = [row[name]["bytes"] for name in SOURCES if row[name] and row[name]["bytes"]]
    return GroupRow(
        row["id"], row["group"], row["case_id"], row["task"], row["instruction"], tuple(pictures),
        row["image"]["bytes"], decode_json(row["scores"]), row["advantage"], row["state"],
    )  # fmt: skip
