"""`hpedit bench build`: a benchmark of the user's own, balanced over tasks and categories and checked by people.

Two steps on one folder. The first proposes cases, some more than are wanted, in proposed.parquet; cases.parquet holds
the wanted number of them, unchecked. After people have been through the proposed ones (`hpedit bench check`), the same
command with their answers writes cases.parquet again: without what they dropped, with the instructions they mended, and
filled up from the spare ones. build.json says what was asked, counts per task, and whether people checked it.

The choice is a matter of a thin index (ids, tasks, categories, photographs); pictures pass from table to table as the
bytes they are.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from hpedit.bench.check import DROPPED, KEPT, MENDED, UNDECIDED, Verdict, read_checks
from hpedit.bench.folder import refuse_foreign
from hpedit.cases.build import run_build
from hpedit.cases.dataset.write import DATA
from hpedit.cases.folder import CasesFolder
from hpedit.cases.recipe import CasesRecipe
from hpedit.config.reading import read_recipe
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.csv_rows import neutralise
from hpedit.store.tables import CASE_COLUMNS, read_parquet_table, write_parquet_table
from hpedit.tasks import TASK_IDS

PROPOSED, CASES, CHECKS, RESULT = "proposed.parquet", "cases.parquet", "checks.csv", "build.json"
_INDEX = {name: CASE_COLUMNS[name] for name in ("id", "task", "category", "source_id", "instruction")}


@dataclass(frozen=True, slots=True)
class Entry:
    """One case without its pictures."""

    id: str
    task: str
    category: str
    source_id: str
    instruction: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a benchmark is to be."""

    per_task: int = 200
    """Cases of each task; the paper's benchmark has about 200."""
    spare: float = 0.2
    """Share proposed beyond that, in place of those that checkers drop."""
    seed: int = 0


def build_bench(source: Path, out: Path, wanted: Wanted, checked: Path | None = None) -> dict[str, Any]:
    """Propose a benchmark in the folder `out`, or write it as people checked it.

    Args:
        source: A table of cases (parquet), a folder of `hpedit cases build` (its dataset) or with cases.parquet, or
            the recipe of a build (.yaml).
        out: Its folder; the same command goes on in it.
        checked: Store of `hpedit bench check`; None leaves the cases unchecked, and build.json says so.

    Returns:
        The content of build.json: asked, proposed, cases, tasks (counts), categories; and checked: None, or who
        checked how many, how far they agree, and the cases on which they don't.

    Raises:
        HPEditError: No case there, `out` was made otherwise, or the checks are of other cases.
    """
    tables = case_tables(source)
    entries = list(read_index(tables))
    asked = {**_plain(wanted), "source": _content(entries)}
    refuse_foreign(out, RESULT, PROPOSED)
    _refuse_other(out, asked, checked)
    out.mkdir(parents=True, exist_ok=True)
    ahead = replace(wanted, per_task=wanted.per_task + math.ceil(round(wanted.per_task * wanted.spare, 6)))
    proposed = choose(entries, ahead.per_task, wanted.seed)
    if not (out / RESULT).exists():
        write_chosen(out / PROPOSED, tables, {entry.id: entry.instruction for entry in proposed})
    verdicts = _verdicts(checked, proposed) if checked else {}
    pool = [replace(entry, instruction=verdicts[entry.id].instruction) if checked else entry for entry in proposed
            if not checked or (entry.id in verdicts and verdicts[entry.id].stays)]  # fmt: skip
    if not pool:
        raise HPEditError(f"the checks in {checked} leave no case", hint="check more of them")
    final = choose(pool, wanted.per_task, wanted.seed)
    write_chosen(out / CASES, [out / PROPOSED], {entry.id: entry.instruction for entry in final})
    if checked:
        atomic_write(out / CHECKS, _checks_csv(proposed, verdicts))
    result = {
        "asked": asked,
        "proposed": len(proposed),
        "cases": len(final),
        "tasks": {task: _counts(task, entries, proposed, final, verdicts) for task in _tasks(entries)},
        "categories": dict(sorted(Counter(entry.category or "none" for entry in final).items())),
        "checked": _check_summary(proposed, verdicts) if checked else None,
    }
    atomic_write(out / RESULT, dump_json(result))
    return result


def case_tables(source: Path) -> list[Path]:
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


def read_index(tables: Sequence[Path]) -> Iterator[Entry]:
    """The cases of `tables` without pictures; HPEditError for an id that is there twice."""
    seen: set[str] = set()
    for table in tables:
        for entry in read_parquet_table(table, _INDEX, lambda row: Entry(**{name: row[name] or "" for name in _INDEX})):
            if entry.id in seen:
                raise HPEditError(f"{table}: case {entry.id} appears twice", hint="ids must be unique")
            seen.add(entry.id)
            yield entry
    if not seen:
        raise HPEditError(f"{tables[0].parent} holds no cases", hint="build some with `hpedit cases build`")


def choose(entries: Sequence[Entry], per_task: int, seed: int) -> list[Entry]:
    """At most `per_task` entries of every task, even over its categories, from as many photographs as possible.

    Within a task each category in turn gives one until the task is full, so that a rare one gives all it has. Among a
    category's cases those come first whose photograph the benchmark uses least, and else the seed draws. The rarest
    task chooses first, since the others have other photographs to turn to. The order of `entries` is of no matter.
    """
    by_task: dict[str, list[Entry]] = {}
    for entry in entries:
        by_task.setdefault(entry.task, []).append(entry)
    used: Counter[str] = Counter()
    chosen: list[Entry] = []
    for task in sorted(by_task, key=lambda task: (len(by_task[task]), task)):
        chosen += _choose_evenly(by_task[task], per_task, used, seed)
    return sorted(chosen, key=lambda entry: entry.id)


def _choose_evenly(entries: Sequence[Entry], count: int, used: Counter[str], seed: int) -> list[Entry]:
    """Some of one task's entries; `used` counts the photographs and is kept up to date."""
    piles: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: _draw(seed, entry.id)):
        piles.setdefault(entry.category, []).append(entry)
    turns = sorted(piles, key=lambda category: _draw(seed, entries[0].task, category))
    chosen: list[Entry] = []
    while turns and len(chosen) < count:
        for category in turns[: count - len(chosen)]:
            # min takes the first of equals: the one that was drawn.
            entry = min(piles[category], key=lambda entry: used[entry.source_id])
            piles[category].remove(entry)
            used[entry.source_id] += 1
            chosen.append(entry)
        turns = [category for category in turns if piles[category]]
    return chosen


def write_chosen(out: Path, tables: Sequence[Path], instructions: Mapping[str, str]) -> None:
    """Copy the cases whose ids are in `instructions` to `out`, each with its instruction, pictures as the bytes are."""

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        for table in tables:
            for row in read_parquet_table(table, CASE_COLUMNS, dict):
                if row["id"] in instructions:
                    yield row["id"], {**row, "instruction": instructions[row["id"]]}

    write_parquet_table(out, CASE_COLUMNS, rows())


def _verdicts(checked: Path, proposed: Sequence[Entry]) -> dict[str, Verdict]:
    """The verdicts on the proposed cases; HPEditError if the checkers saw other cases, or other words."""
    verdicts = read_checks(checked)
    known = {entry.id: entry.instruction for entry in proposed}
    for case_id, verdict in verdicts.items():
        if case_id not in known:
            raise HPEditError(f"{checked} checks case {case_id}, which is not proposed here", hint="name its own store")
        if verdict.shown != known[case_id]:
            raise HPEditError(f"{checked}: case {case_id} was checked with another instruction", hint="check it again")
    return verdicts


def _refuse_other(out: Path, asked: Mapping[str, Any], checked: Path | None) -> None:
    if not (out / RESULT).exists():
        return
    before = read_json(out / RESULT)
    if before.get("checked") and checked is None:
        raise HPEditError(f"{out} was checked by people; this would undo it", hint="name --checked again")
    there = before.get("asked", {})
    for name, value in asked.items():
        if there.get(name) != value:
            said = "has other cases" if name == "source" else f"was {there.get(name)}, is now {value}"
            raise HPEditError(
                f"{out} was made otherwise: {name} {said}", hint="choose another --out, or remove that folder"
            )


def _counts(
    task: str,
    entries: Sequence[Entry],
    proposed: Sequence[Entry],
    final: Sequence[Entry],
    verdicts: Mapping[str, Verdict],
) -> dict[str, int]:
    """How many cases of a task there were, were proposed, had which decision, and are in the benchmark."""
    counts = {name: sum(entry.task == task for entry in some) for name, some in
              (("there", entries), ("proposed", proposed), ("chosen", final))}  # fmt: skip
    if not verdicts:
        return counts
    decisions = Counter(_decision(verdicts.get(entry.id)) for entry in proposed if entry.task == task)
    return counts | {decision: decisions[decision] for decision in (KEPT, MENDED, DROPPED, UNDECIDED, "unchecked")}


def _decision(verdict: Verdict | None) -> str:
    return verdict.decision if verdict else "unchecked"


def _check_summary(proposed: Sequence[Entry], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
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
            {
                "case_id": verdict.case_id,
                "decision": verdict.decision,
                "keep": verdict.keep,
                "mend": verdict.mend,
                "drop": verdict.drop,
                "texts": list(verdict.texts),
            }
            for verdict in several
            if not verdict.agreed
        ],
    }


def _checks_csv(proposed: Sequence[Entry], verdicts: Mapping[str, Verdict]) -> str:
    """One row a proposed case, for people."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("case_id", "task", "decision", "keep", "mend", "drop", "reasons", "shown", "instruction"))
    for entry in proposed:
        verdict = verdicts.get(entry.id)
        votes = (verdict.keep, verdict.mend, verdict.drop) if verdict else (0, 0, 0)
        reasons = ";".join(verdict.reasons) if verdict else ""
        after = verdict.instruction if verdict and verdict.stays else ""
        texts = (neutralise(text) for text in (entry.instruction, after))
        writer.writerow((neutralise(entry.id), entry.task, _decision(verdict), *votes, reasons, *texts))
    return buffer.getvalue()


def _tasks(entries: Sequence[Entry]) -> list[str]:
    """The tasks there are, the eight in their order before any other."""
    there = {entry.task for entry in entries}
    return [task for task in TASK_IDS if task in there] + sorted(there - set(TASK_IDS))


def _plain(wanted: Wanted) -> dict[str, Any]:
    return {"per_task": wanted.per_task, "spare": wanted.spare, "seed": wanted.seed}


def _content(entries: Sequence[Entry]) -> str:
    """SHA-256 (hex) of the index, whatever its order."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.id):
        digest.update("\0".join((*astuple(entry), "\n")).encode())
    return digest.hexdigest()


def _draw(seed: int, *what: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *what)).encode()).digest()
