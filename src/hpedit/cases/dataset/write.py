"""Write a build's dataset: parquet shards that Hugging Face datasets reads, with a card, charts and a contact sheet.

    facts = Facts(total=len(kept), stages=..., distributions=..., decisions=...)
    write_dataset(output / "dataset", rows, facts, recipe, dropped=sheet_rows)

Nothing in the folder names a machine, a path or a time: the same cases give the same bytes anywhere.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpedit.cases.dataset.card import counts_json, render_card
from hpedit.cases.dataset.facts import Content, Facts
from hpedit.cases.dataset.plots import by_category, by_task, distribution_plot
from hpedit.cases.dataset.sheet import SheetRow, write_sheet
from hpedit.cases.hardness import DROPPED, FilterDecision
from hpedit.cases.recipe import CasesRecipe
from hpedit.cases.stage_io import CANDIDATES
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write, write_json
from hpedit.store.tables import write_parquet_table

DATA, PLOTS, SHEETS = "data", "plots", "sheets"
"""Folders of a dataset."""
logger = logging.getLogger(__name__)
CARD, COUNTS = "README.md", "counts.json"

DECISION_COLUMNS: dict[str, pa.DataType] = {
    "filter_reason": pa.string(),
    "base_mean": pa.float64(),
    "base_std": pa.float64(),
    "base_unscorable": pa.int32(),
}
"""The filter's decision on a case, see `hardness.FilterDecision`."""
DATASET = CANDIDATES | DECISION_COLUMNS
"""Columns of a dataset."""


def decision_cells(decision: FilterDecision) -> dict[str, Any]:
    """The dataset cells of a filter decision, as `DECISION_COLUMNS` names them."""
    values = (decision.reason, decision.mean, decision.std, decision.unscorable)
    return dict(zip(DECISION_COLUMNS, values, strict=True))


def write_dataset(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    facts: Facts,
    recipe: CasesRecipe,
    dropped: Iterable[SheetRow] = (),
) -> None:
    """Write the dataset of a build; it replaces an earlier one in the folder.

    Args:
        folder: Created if missing; other files in it stay.
        rows: The kept cases in the order of the dataset, one in memory at a time: a row of `stage_io.CANDIDATES` with
            `decision_cells`. Pictures are copied as bytes.
        facts: Counts and fingerprints of the build.
        recipe: As resolved; paths on this machine are left out.
        dropped: Cases for the contact sheet of what the filter dropped, see `choose_sheet_cases`.

    Raises:
        HPEditError: no case, a number of rows that differs from `facts.total`, or a duplicate id.
    """
    if not facts.total:
        raise HPEditError("no case is left for the dataset", hint="dropped.jsonl says why; loosen filter or balance")
    folder.mkdir(parents=True, exist_ok=True)
    for part in (DATA, PLOTS, SHEETS):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir()
    content = _write_shards(folder / DATA, rows, facts.total, recipe.dataset.shard_rows)
    plots = _write_plots(folder / PLOTS, facts)
    counts = {reason: sum(row.get(reason, 0) for row in facts.decisions.values()) for reason in DROPPED}
    sheets = write_sheet(folder / SHEETS, dropped, counts)
    write_json(folder / COUNTS, counts_json(facts, content, recipe))
    atomic_write(folder / CARD, render_card(facts, content, recipe, sheets, plots).encode("utf-8", "replace"))


def _write_plots(folder: Path, facts: Facts) -> list[str]:
    """Draw the distributions over tasks and, if any case has one, categories; returns the charts' names."""
    if find_spec("matplotlib") is None:
        logger.warning("the dataset card gets no charts: they need matplotlib, pip install 'hp-edit[plots]'")
        return []
    labels = list(facts.distributions)
    tables = {"tasks": ("Tasks", by_task(facts.distributions))}
    if any(category for counts in facts.distributions.values() for _, category in counts):
        tables["categories"] = ("Categories", by_category(facts.distributions))
    for name, (title, rows) in tables.items():
        atomic_write(folder / f"{name}.png", distribution_plot(title, rows, labels))
    return list(tables)


def _write_shards(folder: Path, rows: Iterable[Mapping[str, Any]], total: int, size: int) -> Content:
    """Write the parquet shards under the hub's names (train-00000-of-00003.parquet) and count their content."""
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
        raise HPEditError(f"expected {total} cases in the dataset, found {len(seen) + extra}", hint="build it again")
    return content
