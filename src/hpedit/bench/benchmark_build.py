"""`hpedit bench build`: a benchmark of the user's own, balanced over tasks and categories and checked by people.

Two steps on one folder. The first proposes cases, more than are needed, in proposed.parquet; cases.parquet holds the
requested number of them, unchecked. After people have checked the proposed ones (`hpedit bench check`), the same
command with their answers writes cases.parquet again: without what they dropped, with the instructions they rewrote,
and filled up from the spare ones. build.json has the request, counts per task, and whether people checked it.

Cases are chosen by a small index (ids, tasks, categories, photographs); pictures are copied as they are stored.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from hpedit.bench.bench_folder import refuse_foreign
from hpedit.bench.case_checks import DROPPED, KEPT, MENDED, UNDECIDED, CheckedCase, read_checks
from hpedit.cases.build import run_build
from hpedit.cases.dataset.write import DATA
from hpedit.cases.folder import CasesFolder
from hpedit.cases.recipe import CasesRecipe
from hpedit.config.reading import read_recipe
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write, read_json, write_json
from hpedit.store.csv_rows import csv_text
from hpedit.store.tables import CASE_COLUMNS, read_parquet_table, write_parquet_table
from hpedit.tasks import ordered_tasks

PROPOSED, CASES, CHECKS, RESULT = "proposed.parquet", "cases.parquet", "checks.csv", "build.json"
_INDEX = {name: CASE_COLUMNS[name] for name in ("id", "task", "category", "source_id", "instruction")}


@dataclass(frozen=True, slots=True)
class CaseEntry:
    """One case without its pictures."""

    id: str
    task: str
    category: str
    source_id: str
    instruction: str


@dataclass(frozen=True, slots=True)
class BenchmarkSize:
    """How many cases a benchmark has, and the seed of the choice."""

    per_task: int = 200
    """Cases of each task; the paper's benchmark has about 200."""
    spare: float = 0.2
    """Share proposed in addition, to replace those that checkers drop."""
    seed: int = 0


def build_bench(source: Path, out: Path, wanted: BenchmarkSize, checked: Path | None = None) -> dict[str, Any]:
    """Propose a balanced benchmark in the folder `out`, or write it as people checked it.

    Args:
        source: A table of cases (parquet), a folder of `hpedit cases build` (its dataset) or with cases.parquet, or
            the recipe of a build (.yaml).
        out: Its folder; the same command continues in it.
        checked: Store of `hpedit bench check`; None leaves the cases unchecked, and build.json says so.

    Returns:
        The content of build.json: asked, proposed, cases, tasks (counts), categories; and checked: None, or how many
        were checked, the checkers' agreement, and the cases on which they disagree.

    Raises:
        HPEditError: No cases, `out` was made with other settings, or the checks are of other cases.
    """
    tables = benchmark_source_tables(source)
    entries = list(read_case_index(tables))
    asked = {**asdict(wanted), "source": _content(entries)}
    refuse_foreign(out, RESULT, PROPOSED)
    _refuse_other(out, asked, checked)
    out.mkdir(parents=True, exist_ok=True)
    ahead = replace(wanted, per_task=wanted.per_task + math.ceil(round(wanted.per_task * wanted.spare, 6)))
    proposed = choose_balanced(entries, ahead.per_task, wanted.seed)
    if not (out / RESULT).exists():
        copy_chosen_cases(out / PROPOSED, tables, {entry.id: entry.instruction for entry in proposed})
    verdicts = _verdicts(checked, proposed) if checked else {}
    pool = [replace(entry, instruction=verdicts[entry.id].instruction) if checked else entry for entry in proposed
            if not checked or (entry.id in verdicts and verdicts[entry.id].stays)]  # fmt: skip
    if not pool:
        raise HPEditError(f"no case remains after the checks in {checked}", hint="check more of them")
    final = choose_balanced(pool, wanted.per_task, wanted.seed)
    copy_chosen_cases(out / CASES, [out / PROPOSED], {entry.id: entry.instruction for entry in final})
    if checked:
        atomic_write(out / CHECKS, _checks_csv(proposed, verdicts))
    tasks = ordered_tasks(entry.task for entry in entries)
    result = {
        "asked": asked,
        "proposed": len(proposed),
        "cases": len(final),
        "tasks": {task: _counts(task, entries, proposed, final, verdicts) for task in tasks},
        "categories": dict(sorted(Counter(entry.category or "none" for entry in final).items())),
        "checked": _check_summary(proposed, verdicts) if checked else None,
    }
    write_json(out / RESULT, result)
    return result


def benchmark_source_tables(source: Path) -> list[Path]:
    """The tables of the cases that `source` offers, see `build_bench`; a recipe is built, or continued, first."""
    if source.suffix in (".yaml", ".yml"):
        recipe = read_recipe(source, CasesRecipe)
        run_build(recipe)
        source = Path(recipe.output)
    folder = CasesFolder(source)
    if not folder.built:
        return folder.case_files()
    shards = sorted((source / "dataset" / DATA).glob("*.parquet"))
    if not shards:
        raise HPEditError(f"{source} is not finished", hint="run `hpedit cases build` with its recipe again")
    return shards


def read_case_index(tables: Sequence[Path]) -> Iterator[CaseEntry]:
    """The cases of `tables` without pictures; HPEditError for a duplicate id."""
    seen: set[str] = set()
    for table in tables:
        for entry in read_parquet_table(
            table, _INDEX, lambda row: CaseEntry(**{name: row[name] or "" for name in _INDEX})
        ):
            if entry.id in seen:
                raise HPEditError(f"{table}: case {entry.id} appears twice", hint="ids must be unique")
            seen.add(entry.id)
            yield entry
    if not seen:
        raise HPEditError(f"{tables[0].parent} holds no cases", hint="build some with `hpedit cases build`")


def choose_balanced(entries: Sequence[CaseEntry], per_task: int, seed: int) -> list[CaseEntry]:
    """At most `per_task` entries of every task, even over its categories, from as many photographs as possible.

    Within a task the categories take turns until the task is full, so that a rare one gives all it has. Within a
    category, cases whose photograph the benchmark uses least come first; ties are broken by the seed. The rarest task
    chooses first, since the others have more photographs to choose from. The order of `entries` does not matter.
    """
    by_task: dict[str, list[CaseEntry]] = {}
    for entry in entries:
        by_task.setdefault(entry.task, []).append(entry)
    used: Counter[str] = Counter()
    chosen: list[CaseEntry] = []
    for task in sorted(by_task, key=lambda task: (len(by_task[task]), task)):
        chosen += _choose_evenly(by_task[task], per_task, used, seed)
    return sorted(chosen, key=lambda entry: entry.id)


def _choose_evenly(entries: Sequence[CaseEntry], count: int, used: Counter[str], seed: int) -> list[CaseEntry]:
    """Some of one task's entries; `used` counts the photographs and is kept up to date."""
    piles: dict[str, list[CaseEntry]] = {}
    for entry in sorted(entries, key=lambda entry: _draw(seed, entry.id)):
        piles.setdefault(entry.category, []).append(entry)
    turns = sorted(piles, key=lambda category: _draw(seed, entries[0].task, category))
    chosen: list[CaseEntry] = []
    while turns and len(chosen) < count:
        for category in turns[: count - len(chosen)]:
            # min takes the first of equals: the one that was drawn.
            entry = min(piles[category], key=lambda entry: used[entry.source_id])
            piles[category].remove(entry)
            used[entry.source_id] += 1
            chosen.append(entry)
        turns = [category for category in turns if piles[category]]
    return chosen


def copy_chosen_cases(out: Path, tables: Sequence[Path], instructions: Mapping[str, str]) -> None:
    """Copy the cases whose ids are in `instructions` to `out`, each with its instruction and the pictures' bytes."""

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        for table in tables:
            for row in read_parquet_table(table, CASE_COLUMNS, dict):
                if row["id"] in instructions:
                    yield row["id"], {**row, "instruction": instructions[row["id"]]}

    write_parquet_table(out, CASE_COLUMNS, rows())


def _verdicts(checked: Path, proposed: Sequence[CaseEntry]) -> dict[str, CheckedCase]:
    """The verdicts on the proposed cases; HPEditError if the checkers saw other cases, or other words."""
    verdicts = read_checks(checked)
    known = {entry.id: entry.instruction for entry in proposed}
    for case_id, verdict in verdicts.items():
        if case_id not in known:
            raise HPEditError(
                f"{checked} checks case {case_id}, which is not proposed here", hint="name the store of this benchmark"
            )
        if verdict.shown != known[case_id]:
            raise HPEditError(f"{checked}: case {case_id} was checked with another instruction", hint="check it again")
    return verdicts


def _refuse_other(out: Path, asked: Mapping[str, Any], checked: Path | None) -> None:
    if not (out / RESULT).exists():
        return
    before = read_json(out / RESULT)
    if before.get("checked") and checked is None:
        raise HPEditError(f"{out} was checked by people; this would undo it", hint="give --checked again")
    there = before.get("asked", {})
    for name, value in asked.items():
        if there.get(name) != value:
            change = "cases have changed" if name == "source" else f"{name} was {there.get(name)}, is now {value}"
            raise HPEditError(f"{out} was made with other settings: {change}", hint="choose another --out")


def _counts(
    task: str, entries: Sequence[CaseEntry], proposed: Sequence[CaseEntry], final: Sequence[CaseEntry],
    verdicts: Mapping[str, CheckedCase],
) -> dict[str, int]:  # fmt: skip
    """How many cases of a task were found, proposed, decided in each way, and chosen."""
    counts = {name: sum(entry.task == task for entry in some) for name, some in
              (("there", entries), ("proposed", proposed), ("chosen", final))}  # fmt: skip
    if not verdicts:
        return counts
    fates = Counter(_decision(verdicts.get(entry.id)) for entry in proposed if entry.task == task)
    return counts | {fate: fates[fate] for fate in (KEPT, MENDED, DROPPED, UNDECIDED, "unchecked")}


def _decision(verdict: CheckedCase | None) -> str:
    return verdict.decision if verdict else "unchecked"


def _check_summary(proposed: Sequence[CaseEntry], verdicts: Mapping[str, CheckedCase]) -> dict[str, Any]:
    several = [verdict for verdict in verdicts.values() if verdict.checkers > 1]
    reasons: Counter[str] = Counter()
    for verdict in verdicts.values():
        reasons.update(verdict.reasons)
    return {
        "cases": len(verdicts),
        "unchecked": len(proposed) - len(verdicts),
        "by_several": len(several),
        "agreement": round(sum(verdict.agreed for verdict in several) / len(several), 4) if several else None,
        "reasons": dict(sorted(reasons.items())),
        "disagreements": [
            {name: getattr(verdict, name) for name in ("case_id", "decision", "keep", "mend", "drop")}
            | {"texts": list(verdict.texts)}
            for verdict in several
            if not verdict.agreed
        ],
    }


def _checks_csv(proposed: Sequence[CaseEntry], verdicts: Mapping[str, CheckedCase]) -> str:
    """One row a proposed case, as CSV."""
    rows = []
    for entry in proposed:
        verdict = verdicts.get(entry.id)
        votes = (verdict.keep, verdict.mend, verdict.drop) if verdict else (0, 0, 0)
        reasons = ";".join(verdict.reasons) if verdict else ""
        after = verdict.instruction if verdict and verdict.stays else ""
        decided = (_decision(verdict), *map(str, votes), reasons)
        rows.append((entry.id, entry.task, *decided, entry.instruction, after))
    return csv_text(("case_id", "task", "decision", "keep", "mend", "drop", "reasons", "shown", "instruction"), rows)


def _content(entries: Sequence[CaseEntry]) -> str:
    """SHA-256 (hex) of the index, whatever its order."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.id):
        digest.update("\0".join((*astuple(entry), "\n")).encode())
    return digest.hexdigest()


def _draw(seed: int, *what: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *what)).encode()).digest()
