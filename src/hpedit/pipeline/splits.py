"""The cases of a run: which are rated, trained on, and held out for the benchmark. No source photograph is in two.

A mini world brings splits of its own. Photographs are split by a hash of their id, so that a photograph that is added
later moves none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.progress import note
from hpedit.records import Case
from hpedit.seeds import hash_64, hash_number
from hpedit.store.atomic import read_json, read_jsonl, write_json
from hpedit.store.tables import read_cases, write_cases
from hpedit.tasks import TASK_IDS

RATED, TRAIN, BENCH = "rated", "train", "bench"
FOLDER = "splits"
SHOWN = 3
"""Names in a note."""
CHECKED = "checked.json"
"""Beside the splits: that the benchmark was compared with the other two."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many cases of each task a split takes at most; None takes all."""

    rated: int
    train: int | None
    bench: int
    rated_share: float
    bench_share: float


def split_of(source_id: str, seed: int, wanted: Wanted) -> str:
    """The split of a source photograph, a function of its id and the seed."""
    place = hash_64(f"split;{seed};{source_id}") / 2**64
    if place < wanted.bench_share:
        return BENCH
    return RATED if place < wanted.bench_share + wanted.rated_share else TRAIN


def split_cases(cases: Iterable[Case], seed: int, wanted: Wanted) -> dict[str, list[Case]]:
    """Split cases by source photograph, each split in the order of the cases' ids, its tasks capped.

    Raises:
        HPEditError: a split has no case.
    """
    found: dict[str, list[Case]] = {RATED: [], TRAIN: [], BENCH: []}
    for case in cases:
        found[split_of(case.source_id, seed, wanted)].append(case)
    capped = {
        name: _capped(found[name], most, seed)
        for name, most in ((RATED, wanted.rated), (TRAIN, wanted.train), (BENCH, wanted.bench))
    }
    for name, kept in capped.items():
        if not kept:
            photographs = len({case.source_id for split in found.values() for case in split})
            raise HPEditError(
                f"no case is left for the {name} split of {photographs} source photographs",
                hint="add photographs, or change cases.rated_share and cases.bench_share",
            )
    return capped


def _capped(cases: Sequence[Case], most: int | None, seed: int) -> list[Case]:
    """At most `most` cases of each task, by hash, photographs in turns so that one with many cases takes no others'."""
    if most is None:
        return sorted(cases, key=lambda case: case.id)
    kept: list[Case] = []
    for task in TASK_IDS:
        own = sorted((case for case in cases if case.task == task), key=lambda case: hash_number(seed, task, case.id))
        turn: dict[str, int] = {}
        ranked = []
        for case in own:
            turn[case.source_id] = turn.get(case.source_id, -1) + 1
            ranked.append((turn[case.source_id], case))
        # Stable: within a turn the hash's order stays.
        kept += [case for _, case in sorted(ranked, key=lambda pair: pair[0])[:most]]
    return sorted(kept, key=lambda case: case.id)


def read_splits(folder: Path, build: Callable[[], Iterable[Case]], seed: int, wanted: Wanted) -> dict[str, Path]:
    """Tables of the splits in `folder`, made from what `build` gives where they are not there yet."""
    paths = {name: folder / f"{name}.parquet" for name in (RATED, TRAIN, BENCH)}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, cases in split_cases(build(), seed, wanted).items():
            write_cases(paths[name], cases)
    return paths


def counts_of(table: Path) -> str:
    """How many cases and photographs a split's table holds, as a phrase."""
    cases = read_cases(table)
    return f"{len(cases)} cases of {len({case.source_id for case in cases})} photographs"


def keep_apart(splits: Mapping[str, Path], *, drop: bool) -> str:
    """See that no held-out photograph is rated or trained on under another name: by pixels, and by near duplicates.

    Photographs are compared while cases are built; ready cases may name one photograph in two ways.

    Args:
        splits: Tables of the splits; that of the benchmark is written again if cases are dropped.
        drop: Leave such cases out of the benchmark instead of refusing them.

    Returns:
        What was dropped, as a phrase; "" for nothing.

    Raises:
        HPEditError: there are such cases and `drop` is not set, or none would be left. The splits are then removed, so
            that they are made again from corrected sources.
    """
    from hpedit.bench.leakage import leaked_cases

    checked = splits[BENCH].with_name(CHECKED)
    if checked.is_file():
        return str(read_json(checked)["dropped"])
    cases = read_cases(splits[BENCH])
    found = leaked_cases(cases, [splits[RATED], splits[TRAIN]])
    kept = [case for case in cases if case.id not in found]
    if found and not (drop and kept):
        first, reason = next(iter(found.items()))
        for path in splits.values():
            path.unlink()
        raise HPEditError(
            f"{len(found)} of {len(cases)} held-out cases show photographs that are rated or trained on; "
            f"{first}: {reason}",
            hint="give them one source_id, or set bench.leaked to drop" if kept else "give them one source_id",
        )
    dropped = f"{len(found)} leaked cases left out of the benchmark" if found else ""
    if found:
        note(f"{dropped}: {', '.join(list(found)[:SHOWN])}{', ...' if len(found) > SHOWN else ''}")
        write_cases(splits[BENCH], kept)
    write_json(checked, {"dropped": dropped, "leaked": found})
    return dropped


def build_notes(folder: Path) -> list[str]:
    """What the build of all cases left out: photographs that were skipped, tasks without instructions."""
    file = folder / "result.json"
    if not file.is_file():
        return []
    result = read_json(file)
    skipped = [row["id"] for row in read_jsonl(folder / "skipped.jsonl")]
    more = f", ..., see {folder.name}/skipped.jsonl" if len(skipped) > SHOWN else ""
    notes = [f"skipped: {', '.join(skipped[:SHOWN])}{more}"] if skipped else []
    missing = next((one["missing"] for one in result.get("stages", {}).values() if one.get("missing")), "")
    return [*notes, missing] if missing else notes
