"""Read published benchmarks (GEdit-Bench, ImgEdit-Bench): cases, edits and score tables; shared by their modules.

benchmark = BENCHMARKS["gedit"]
write_benchmark(benchmark, data, out, "en", edits)    # cases.parquet, and the edits named by case id
tables = benchmark.scores(files, data, "en")          # one table a model, by the benchmark's own rule
"""

from __future__ import annotations

import glob
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.stats.bootstrap import FloatArray, Statistic, bootstrap_by_source
from hpedit.stats.intervals import interval_text
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.images import EXTENSIONS
from hpedit.store.tables import write_cases

EDITS, CASES, NOTE = "edits", "cases.parquet", "published.json"


SHOWN = 5
"""Keys that a note names."""


@dataclass(frozen=True, slots=True)
class PublishedCase:
    """A published case as ours, or only its kind if it belongs to none of the eight tasks."""

    kind: str
    """Its kind in the benchmark's own words."""
    case: Case | None
    """None: none of the eight tasks."""
    edit: str
    """Where its edit lies in a folder of results, relative to it."""


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """One figure that a benchmark's table gives for a group, and over all groups."""

    name: str
    groups: Mapping[str, float | None]
    """Mean of each group; None where it has no score."""
    overall: float | None
    """Mean of the groups' means; None unless every group has one."""
    ci95: tuple[float, float] | None
    """Of `overall`: bootstrap over the source photographs."""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One model's scores by a benchmark's own rule."""

    model: str
    part: str
    """Which part of the benchmark: a language, a subset."""
    columns: tuple[ScoreColumn, ...]
    counts: Mapping[str, int]
    """Scored cases of each group."""
    unscorable: int
    """Cases whose score is missing or invalid: left out, never 0."""
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        columns = {
            one.name: {"overall": one.overall, "ci95": one.ci95, "groups": dict(one.groups)} for one in self.columns
        }
        head = {"model": self.model, "part": self.part, "columns": columns, "counts": dict(self.counts)}
        return head | {"unscorable": self.unscorable, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One published benchmark."""

    title: str
    read: Callable[[Path, str], Iterator[PublishedCase]]
    """Reads its cases from the path of its data, in one language."""
    scores: Callable[[Sequence[Path], Path | None, str], list[ScoreTable]]
    """Tables from files of its judge; the second path is the benchmark's own description if the rule needs it."""


def write_benchmark(benchmark: Benchmark, data: Path, out: Path, language: str, edits: Path | None) -> dict[str, Any]:
    """Convert a published benchmark: write its cases and, if results are given, their images under the cases' ids.

    Args:
        data: The benchmark as published.
        out: Folder for cases.parquet, edits/ and published.json.
        language: Of the instructions.
        edits: Folder of one model's results in the benchmark's layout.

    Returns:
        The content of published.json: cases by task, what was left out by its kind, and edits found and missing.

    Raises:
        HPEditError: No data, damaged pictures, or no case of the eight tasks.
    """
    out.mkdir(parents=True, exist_ok=True)
    kept: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    missing: list[str] = []

    def cases() -> Iterator[Case]:
        for read in benchmark.read(data, language):
            if read.case is None:
                left_out[read.kind] += 1
                continue
            kept[read.case.task] += 1
            if edits is not None and not _copy(edits / read.edit, out / EDITS, read.case.id):
                missing.append(read.case.id)
            yield read.case

    count = write_cases(out / CASES, cases())
    if not count:
        raise HPEditError(f"{data} has no case of the eight tasks in {language}", hint="is it the right --language?")
    result: dict[str, Any] = {
        "benchmark": benchmark.title,
        "language": language,
        "cases": count,
        "tasks": dict(sorted(kept.items())),
        "left_out": dict(sorted(left_out.items())),
    }
    if edits is not None:
        result["edits"] = {"found": count - len(missing), "missing": missing}
    atomic_write(out / NOTE, dump_json(result))
    return result


def check_key(key: str, where: Path) -> str:
    """A case's key, which names files; HPEditError for one that would lead out of their folder."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", key):
        raise HPEditError(f"{where}: key {key!r} can't name a file", hint="is it the benchmark as published?")
    return key


def _copy(edit: Path, folder: Path, case_id: str) -> bool:
    """Copy an image of any suffix under the case's id, in place of an earlier model's; False if there is none."""
    for old in folder.glob(f"{case_id}.*"):
        old.unlink()
    named = sorted(edit.parent.glob(f"{glob.escape(edit.stem)}.*"))
    found = edit if edit.is_file() else next((p for p in named if p.suffix.lower() in EXTENSIONS), None)
    if found is None:
        return False
    folder.mkdir(exist_ok=True)
    atomic_write(folder / f"{case_id}{found.suffix.lower()}", found.read_bytes())
    return True


def some_of(keys: Collection[str]) -> str:
    """The first few of some cases' keys, for a note."""
    found = sorted(keys)
    return ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")


def score_column(
    name: str, groups: Sequence[str], rows: Sequence[tuple[str, str, float]], digits: int = 3
) -> ScoreColumn:
    """A column of a published benchmark's score table from (group, source, score) rows.

    Args:
        groups: All groups of the benchmark, in its order; one without a row leaves `overall` undefined.
        digits: Decimals kept, as the benchmark prints them.
    """
    scores = {group: [score for name_, _, score in rows if name_ == group] for group in groups}
    means = {group: round(sum(found) / len(found), digits) if found else None for group, found in scores.items()}
    if None in means.values():
        return ScoreColumn(name, means, None, None)
    values = np.array([(score, groups.index(group)) for group, _, score in rows], dtype=np.float64)
    estimate = bootstrap_by_source(values, [source for _, source, _ in rows], _mean_of_groups(len(groups)))
    bounds = None if math.isnan(estimate.low) else (round(estimate.low, digits), round(estimate.high, digits))
    return ScoreColumn(name, means, round(estimate.value, digits), bounds)


def case_mean_note(rows: Sequence[tuple[str, str, float]]) -> str:
    """The mean over all cases, which some toolkits print instead of the mean of group means."""
    return f"mean over all cases: {sum(score for *_, score in rows) / len(rows):.2f}"


def _mean_of_groups(count: int) -> Statistic:
    """Unweighted mean of the groups' means: column 0 of the values is the score, column 1 the number of its group."""

    def statistic(values: FloatArray, weights: FloatArray) -> FloatArray:
        inside = np.stack([values[:, 1] == group for group in range(count)], axis=1).astype(np.float64)
        totals = weights @ inside
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights * values[:, 0]) @ inside / totals
        result: FloatArray = means.mean(axis=1)
        return result

    return statistic


def score_tables_text(tables: Sequence[ScoreTable]) -> str:
    """The tables as Markdown that also reads in a terminal."""
    return "\n\n".join(map(_score_table_text, tables))


def _score_table_text(table: ScoreTable) -> str:
    header = ["", "n", *(column.name for column in table.columns)]
    groups = list(table.columns[0].groups)
    means = {group: [interval_text({"value": column.groups[group]}) for column in table.columns] for group in groups}
    rows = [[group, str(table.counts.get(group, 0)), *cells] for group, cells in means.items()]
    overall = [interval_text({"value": column.overall, "ci95": column.ci95}) for column in table.columns]
    rows.append(["overall", str(sum(table.counts.values())), *overall])
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.ljust(width) if place == 0 else cell.rjust(width)
                          for place, (cell, width) in enumerate(zip(cells, widths, strict=True)))  # fmt: skip
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    notes = [f"unscorable: {table.unscorable}"] if table.unscorable else []
    lines = [f"{table.model}, {table.part}", "", line(header), rule, *map(line, rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in (*notes, *table.notes))])
