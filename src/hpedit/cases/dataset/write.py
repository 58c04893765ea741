"""What a build hands on: parquet shards that Hugging Face datasets reads, with a card, plots and a picture sheet.

    facts = Facts(total=len(kept), stages=..., distributions=..., fates=...)
    write_dataset(output / "dataset", rows, facts, recipe, dropped=sheet_rows)

Nothing in the folder names a machine, a path or a time: the same cases give the same bytes anywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpedit.cases.dataset.card import counts_json, has_categories, render_card
from hpedit.cases.dataset.facts import Content
from hpedit.cases.dataset.facts import Facts as Facts
from hpedit.cases.dataset.plots import by_category, by_task, distribution_plot
from hpedit.cases.dataset.sheet import SheetRow, write_sheet
from hpedit.cases.hardness import DROPPED, Fate
from hpedit.cases.parts import CANDIDATES
from hpedit.cases.recipe import CasesRecipe
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.images import png_bytes
from hpedit.store.tables import write_parquet_table

DATA, PLOTS, SHEETS = "data", "plots", "sheets"
"""Folders of a dataset."""
CARD, COUNTS = "README.md", "counts.json"

FATE_COLUMNS: dict[str, pa.DataType] = {
    "filter_reason": pa.string(),
    "base_mean": pa.float64(),
    "base_std": pa.float64(),
    "base_unscorable": pa.int32(),
}
"""What became of a case in the filter, see `hardness.Fate`."""
DATASET = CANDIDATES | FATE_COLUMNS
"""Columns of a dataset."""


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
        (folder / part).mkdir()
    content = _write_shards(folder / DATA, rows, facts.total, recipe.dataset.shard_rows)
    _write_plots(folder / PLOTS, facts)
    counts = {reason: sum(row.get(reason, 0) for row in facts.fates.values()) for reason in DROPPED}
    sheets = write_sheet(folder / SHEETS, dropped, counts)
    atomic_write(folder / COUNTS, dump_json(counts_json(facts, content, recipe)))
    atomic_write(folder / CARD, render_card(facts, content, recipe, sheets).encode("utf-8", "replace"))


def _write_plots(folder: Path, facts: Facts) -> None:
    """The distribution over tasks, and over categories where there are any."""
    labels = list(facts.distributions)
    tables = {"tasks": ("Tasks", by_task(facts.distributions))}
    if has_categories(facts):
        tables["categories"] = ("Categories", by_category(facts.distributions))
    for name, (title, rows) in tables.items():
        atomic_write(folder / f"{name}.png", png_bytes(distribution_plot(title, rows, labels)))


def _write_shards(folder: Path, rows: Iterable[Mapping[str, Any]], total: int, size: int) -> Content:
    """The shards, named as the hub names them: train-00000-of-00003.parquet."""
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
        write_parquet_table(path, DATASET, keyed(size))
        content.bytes += path.stat().st_size
    extra = sum(1 for _ in rest)
    if len(seen) + extra != total:
        raise HPEditError(f"the dataset was to have {total} cases and has {len(seen) + extra}", hint="build it again")
    return content
