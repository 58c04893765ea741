"""Building training cases: candidates, the base editor's edit of each, its score, and the hard filter.

A folder of results holds candidates.parquet (all cases), base/ (edits and scores of the base editor, resumable),
given_edits.parquet (edits that came with the instructions), skipped.jsonl, and cases.parquet: the hard cases, on which
to train.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hpedit.bench.run import BenchFolder, BenchRow, run_bench
from hpedit.cases.instructions import Given, read_instructions
from hpedit.editors.protocol import Editor
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles, folder_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Case
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import atomic_write
from hpedit.store.images import list_images
from hpedit.store.run_folder import RunFolder, hash_path
from hpedit.store.tables import write_cases, write_edits
from hpedit.tasks import TASK_IDS

Source = Literal["mini", "photos", "instructions"]
SOLVED = 5
"""A case whose edit scores this when rounded teaches nothing and is dropped (HP-Edit, arXiv 2604.19406)."""


def candidates(source: Source, src: Path | None, count: int, seed: int, split: str = "train") -> Given:
    """Cases before the filter.

    Args:
        source: "mini": scenes on the embedded photographs; "photos": scenes on the photographs of folder `src`, all
            eight tasks with exact targets; "instructions": the photographs and instructions of table (or folder) `src`.
        count: Number of cases, spread evenly over the eight tasks; a table of instructions is read whole.
        split: Which tiles to use; training and benchmark never share one.

    Raises:
        HPEditError: `src` is missing, holds nothing usable, or has too few photographs for the split.
    """
    per_task = -(-count // len(TASK_IDS))
    if source == "mini":
        return Given(make_cases(embedded_tiles(split), per_task, seed, split)[:count], [], [])
    if src is None:
        raise HPEditError(f"cases from {source} need --src", hint="name the folder or table")
    if source == "instructions":
        return read_instructions(src)
    paths, skipped = list_images(src)
    if not paths:
        raise HPEditError(f"{src} has no picture that can be read", hint="it needs PNG, JPEG or WebP files")
    cases = make_cases(folder_tiles(paths, split), per_task, seed, split)[:count]
    return Given(cases, [], [{"id": str(path), "reason": reason} for path, reason in skipped])


def is_hard(row: BenchRow) -> bool:
    """Whether a case is kept: its edit was scored and is not already a rounded 5."""
    return row.score is not None and int(row.score + 0.5) < SOLVED


def filter_hard(cases: Sequence[Case], folder: BenchFolder) -> tuple[list[Case], dict[str, Any]]:
    """The hard cases, and counts per task of what was kept, solved and unscorable."""
    rows = {row.case_id: row for row in folder.rows()}
    kept = [case for case in cases if is_hard(rows[case.id])]
    fates = Counter((case.task, _fate(rows[case.id])) for case in cases)
    tasks = [task for task in TASK_IDS if any(case.task == task for case in cases)]
    return kept, {task: {fate: fates[task, fate] for fate in ("kept", "solved", "unscorable")} for task in tasks}


def _fate(row: BenchRow) -> str:
    """What becomes of a case: "kept", "solved" or "unscorable"."""
    return "unscorable" if row.score is None else "kept" if is_hard(row) else "solved"


def build_hard(
    out: Path,
    given: Given,
    editor: Editor,
    scorer: Scorer | None,
    *,
    seed: int,
    steps: int = 8,
    what: dict[str, Any] | None = None,
) -> list[Case]:
    """Edit, score and filter the candidates; returns the hard cases. The same call continues a killed one in `out`.

    Args:
        given: Candidates, with what came beside them; edits that were given are stored as they are.
        scorer: Without one all cases are kept.
        steps: ODE steps of the base editor's edits.
        what: More of the recipe, by which `out` is recognised when the call is repeated.

    Raises:
        HPEditError: no case is left, or `out` holds another run.
    """
    recipe = {
        "seed": seed,
        "steps": steps,
        "scorer": scorer.fingerprint if scorer else None,
        "editor": editor.fingerprint,
        **(what or {}),
    }
    inputs = {"cases": _hash(given.cases)}
    with RunFolder.open(out, "cases", recipe, inputs) as run:
        if not (out / "candidates.parquet").exists():
            write_cases(out / "candidates.parquet", given.cases)
        if given.edits and not (out / "given_edits.parquet").exists():
            write_edits(out / "given_edits.parquet", given.edits)
        atomic_write(out / "skipped.jsonl", "".join(json.dumps(row) + "\n" for row in given.skipped))
        folder = run_bench(editor, given.cases, scorer, out / "base", seed=seed, steps=steps, label="base", batch=48)
        if scorer is None:
            kept = list(given.cases)
            counts = {task: {"kept": n} for task, n in Counter(case.task for case in kept).items()}
        else:
            kept, counts = filter_hard(given.cases, folder)
        if not run.done:
            if not kept:
                raise HPEditError(
                    "every case is already solved or unscorable: nothing is left to train on",
                    hint="build more or harder cases",
                )
            write_cases(out / "cases.parquet", kept)
            run.finish(
                {"candidates": len(given.cases), "kept": len(kept), "tasks": counts, "skipped": len(given.skipped)}
            )
    return kept


def build_cases(
    source: Source,
    out: Path,
    *,
    src: Path | None = None,
    count: int = 96,
    scorer: Path | None = None,
    model: str = "mini",
    seed: int = 0,
) -> dict[str, Any]:
    """`hpedit cases build`: see `candidates` and `build_hard`. Returns the counts."""
    from hpedit.editors.qwen_image_edit import QwenImageEdit
    from hpedit.scorer.hp_scorer import HPScorer
    from hpedit.store.atomic import read_json

    given = candidates(source, src, count, seed)
    editor = QwenImageEdit.load(model, cache=out.parent / (out.name + ".conditioning") if model != "mini" else None)
    what = {"source": source, "count": count, "src": hash_path(src) if src else None}
    build_hard(out, given, editor, HPScorer.load(scorer) if scorer else None, seed=seed, what=what)
    result: dict[str, Any] = read_json(out / "result.json")
    return result


def _hash(cases: Sequence[Case]) -> str:
    from hpedit.bench.run import cases_fingerprint

    return cases_fingerprint(cases)
