"""What a command does beyond one call of a stage: load its inputs, run the stages, write what it promised.

The command line calls these; so can a notebook. Imports that bring torch stand at the top: `cli` loads this module only
when a command runs.
"""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench.run import BenchFolder, run_bench
from hpedit.bench.summary import compare
from hpedit.editors.qwen_image_edit import QwenImageEdit
from hpedit.editors.sampling import edit_image
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.report.collect import collect_pictures
from hpedit.report.data import ReportData
from hpedit.report.page import write_report
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.images import load_image, png_bytes
from hpedit.store.tables import read_cases

BENCH_ARMS = ("base", "post")
ASKED = "bench.json"


def edit_file(
    image: Path, instruction: str, out: Path, *, model: str, lora: Path | None, steps: int, seed: int
) -> None:
    """Edit the picture in `image` and write the edit to `out` as PNG; HPEditError for a bad picture, model or LoRA."""
    if out.suffix.lower() != ".png":
        raise HPEditError(f"{out} does not end in .png", hint="edits are written as PNG, without loss")
    picture = load_image(image)
    editor = QwenImageEdit.load(model, lora=lora)
    edited = edit_image(editor, picture, instruction, seed=seed, steps=steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, png_bytes(edited))


def load_cases(path: Path) -> list[Case]:
    """Cases from a parquet file, or from the folder that `hpedit cases build` wrote."""
    return read_cases(path / "cases.parquet" if path.is_dir() else path)


def bench_base_and_lora(
    cases: Path,
    out: Path,
    *,
    lora: Path,
    scorer: Path | None,
    model: str,
    steps: int,
    seed: int,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure the base and the base with its LoRA on the same cases and seeds, and write the report to `out`.

    A run that was stopped continues. `scorer` None leaves HP-Scorer's column out; the oracle scores mini cases anyway.

    Returns:
        The summary, as `hpedit.bench.summary.compare` describes it.
    """
    held_out = load_cases(cases)
    judge = _load_scorer(scorer) if scorer else None
    out.mkdir(parents=True, exist_ok=True)
    folders: dict[str, BenchFolder | None] = {}
    for label, adapter in zip(BENCH_ARMS, (None, lora), strict=True):
        editor = QwenImageEdit.load(model, lora=adapter)
        folders[label] = run_bench(editor, held_out, judge, out / label, seed=seed, steps=steps, label=label)
    atomic_write(out / ASKED, dump_json({"cases": str(cases.resolve()), "command": shlex.join(command)}))
    summary = compare(folders)
    write_bench_report(out)
    return summary


def write_bench_report(folder: Path) -> Path:
    """Write the report of a finished benchmark, again or for the first time; returns the path of its page."""
    if not (folder / ASKED).exists():
        raise HPEditError(
            f"{folder} is not the folder of a finished benchmark",
            hint="`hpedit bench` makes one; `hpedit demo --out` writes a demo's report again",
        )
    asked = read_json(folder / ASKED)
    base, post = (BenchFolder.open(folder / label) for label in BENCH_ARMS)
    finished = (folder / ASKED).stat().st_mtime
    data = ReportData(
        title="HP-Edit benchmark",
        created=datetime.datetime.fromtimestamp(finished, datetime.UTC).isoformat(timespec="seconds"),
        summary=compare({"base": base, "post": post}),
        pictures=collect_pictures(load_cases(Path(asked["cases"])), base, post),
        command=asked["command"] or None,
        fingerprints=_fingerprints({"base": base, "post": post}),
    )
    return write_report(folder, data)


def _fingerprints(folders: Mapping[str, BenchFolder]) -> dict[str, str]:
    names = {f"editor, {label}": str(folder.settings["editor"]) for label, folder in folders.items()}
    return names | {"scorer": json.dumps(folders["base"].settings["scorer"])}


def _load_scorer(path: Path) -> Any:
    from hpedit.scorer.hp_scorer import HPScorer

    return HPScorer.load(path)
