"""What a build hands on: parquet shards that Hugging Face datasets reads, with a card, plots and a picture sheet.

    facts = Facts(total=len(kept), stages=..., distributions=..., fates=...)
    write_dataset(output / "dataset", rows, facts, recipe, dropped=sheet_rows)

Nothing in the folder names a machine, a path or a time: the same cases give the same bytes anywhere.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpedit.cases.hardness import Fate
from hpedit.cases.parts import CANDIDATES
from hpedit.cases.recipe import CasesRecipe
from hpedit.cases.sheet import SheetRow
from hpedit.errors import HPEditError
from hpedit.store.tables import write_table

DATA, PLOTS, SHEETS = "data", "plots", "sheets"
"""Folders of a dataset."""

FATE_COLUMNS: dict[str, pa.DataType] = {
    "filter_reason": pa.string(),
    "base_mean": pa.float64(),
    "base_std": pa.float64(),
    "base_unscorable": pa.int32(),
}
"""What became of a case in the filter, see `hardness.Fate`."""
DATASET = CANDIDATES | FATE_COLUMNS
"""Columns of a dataset."""

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
    """Cases by (task, category), from first to last: {"written": ..., "balanced": ..., "kept": ...}."""
    fates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Cases by task and reason, as `hardness.count_fates` gives them; empty without a filter."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Photographs and drafts left out before the filter, by reason in a few words."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of what took part, by its part: {"editor": ..., "scorer": ..., "labels": ..., "instructions": ...}."""


@dataclass(slots=True)
class Content:
    """What was counted while the shards were written."""

    licences: Counter[str] = field(default_factory=Counter)
    """Cases by licence; "" = none is stated."""
    photos: dict[int, set[str]] = field(default_factory=dict)
    """Names of the photographs of each source, by its number in the recipe."""
    cases: Counter[int] = field(default_factory=Counter)
    """Cases by the number of their source."""
    languages: Counter[str] = field(default_factory=Counter)
    """Cases by language of the instruction."""
    bytes: int = 0
    """Of all shards."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        source = int(str(row["photo"]).partition("/")[0])
        self.licences[row["licence"] or ""] += 1
        self.photos.setdefault(source, set()).add(row["photo"])
        self.cases[source] += 1
        self.languages[row["language"] or ""] += 1


def fate_cells(fate: Fate) -> dict[str, Any]:
    """The cells of `FATE_COLUMNS`."""
    return {
        "filter_reason": fate.reason,
        "base_mean": fate.mean,
        "base_std": fate.std,
        "base_unscorable": fate.unscorable,
    }


def write_dataset(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    facts: Facts,
    recipe: CasesRecipe,
    dropped: Iterable[SheetRow] = (),
) -> None:
    """Write the dataset of a build, in place of one that may be there.

    Args:
        folder: Made where there is none; other files in it stay.
        rows: The kept cases in the order of the dataset, one in memory at a time: a row of `parts.CANDIDATES` with
            `fate_cells`. Pictures are passed on as they lie.
        facts: Counts and fingerprints of the build.
        recipe: As resolved. What names a place on this machine is left out.
        dropped: Cases to be shown on the sheet of what the filter dropped, see `sheet.choose`.

    Raises:
        HPEditError: no case, another number of rows than `facts` says, or an id twice.
    """
    if not facts.total:
        raise HPEditError("no case is left for the dataset", hint="dropped.jsonl says why; loosen filter or balance")
    folder.mkdir(parents=True, exist_ok=True)
    for part in (DATA, PLOTS, SHEETS):
        shutil.rmtree(folder / part, ignore_errors=True)
    _write_shards(folder / DATA, rows, facts.total, recipe.dataset.shard_rows)


def _write_shards(folder: Path, rows: Iterable[Mapping[str, Any]], total: int, size: int) -> Content:
    """The shards, named as the hub names them: train-00000-of-00003.parquet."""
    folder.mkdir()
    content, seen = Content(), set[str]()
    rest = iter(rows)
    shards = -(-total // size)

    def keyed(limit: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in islice(rest, limit):
            if row["id"] in seen:
                raise HPEditError(f"case {row['id']} appears twice in the dataset", hint="ids must be unique")
            seen.add(row["id"])
            content.add(row)
            yield row["id"], dict(row)

    for number in range(shards):
        path = folder / f"train-{number:05d}-of-{shards:05d}.parquet"
        write_table(path, DATASET, keyed(size))
        content.bytes += path.stat().st_size
    extra = sum(1 for _ in rest)
    if len(seen) + extra != total:
        raise HPEditError(f"the dataset was to have {total} cases and has {len(seen) + extra}", hint="build it again")
    return content
