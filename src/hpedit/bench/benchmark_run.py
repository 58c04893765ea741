"""Edit and score every case of a benchmark with one model: `run_bench`, or score edits made elsewhere: `run_external`.

The seed of an edit follows from the benchmark's seed and the case alone, so two models, and two runs of one, edit from
the same noise. Finished work is never repeated: edits are kept by batch in parts/, measures and scores line by line,
and a run killed at any moment resumes with the same command to the same result. A scorer added later only scores.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from hpedit.bench.bench_folder import (
    EDITS,
    PARTS,
    ROWS,
    SCORES,
    STAGE,
    BenchFolder,
    BenchRow,
    Instrument,
    scores_file,
    stage_totals,
)  # fmt: skip
from hpedit.bench.pixel_measures import measure_edit, measure_source
from hpedit.errors import HPEditError
from hpedit.mini.oracle import score_edit
from hpedit.progress import stage
from hpedit.records import Case, Edit
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import edit_seed
from hpedit.store.atomic import append_jsonl, atomic_write, read_jsonl, write_json
from hpedit.store.run_folder import RunFolder
from hpedit.store.tables import iter_edits, write_edits

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor

T = TypeVar("T")
Instruments = Sequence[tuple[Instrument, Scorer]]


def run_bench(
    editor: Editor, cases: Sequence[Case], scorer: Scorer | None, out: Path | str, *, seed: int = 0, steps: int,
    label: str, batch: int = 16, instruments: Instruments = (),
) -> BenchFolder:  # fmt: skip
    """Edit and score all `cases`, resuming what is already there.

    Args:
        editor: The model, with its LoRA if it has one.
        cases: Held-out cases. Those with an exact target are also scored by the oracle.
        scorer: HP-Scorer, or None; `instruments` may hold it instead, with its name.
        out: The folder; one for each model.
        seed: Of the benchmark; models to be compared share it.
        steps: ODE steps of an edit.
        label: The model's name in tables: "base", "post", "control".
        batch: Cases edited or scored at a time; part of the recipe, since it may change the last bits of a float.
        instruments: Further scorers, with what they are.

    Raises:
        HPEditError: No cases, repeated case ids, or a folder made with other settings.
    """
    check_cases(cases)
    recipe = {"label": label, "seed": seed, "steps": steps, "batch": batch, "editor": editor.fingerprint}
    with RunFolder.open(out, STAGE, recipe, {"cases": cases_fingerprint(cases)}) as run:
        if not run.done:
            _edit_all(run, editor, cases, seed=seed, steps=steps, label=label, batch=batch)
        _measure_all(run, cases, _all(scorer, instruments), label=label, batch=batch)
    return BenchFolder.open(out)


def run_external(
    edits: Iterable[Edit], cases: Sequence[Case], out: Path | str, *, label: str, fingerprint: str,
    missing: Mapping[str, str] | None = None, edit_ids: str = "{label}:{case}", notes: Mapping[str, Any] | None = None,
    batch: int = 16, instruments: Instruments = (),
) -> BenchFolder:  # fmt: skip
    """Score edits that were made elsewhere, as `run_bench` scores its own; see there for the other arguments.

    Args:
        edits: One a case, for every case that is not among `missing`; read once.
        fingerprint: Names the content of the edits; another one is another benchmark.
        missing: Case id -> why it has no edit. A comparison leaves these cases out for every model.
        edit_ids: How the edits are called; other names are another benchmark, since ratings refer to them.
        notes: What else was found, kept in result.json.

    Raises:
        HPEditError: No cases, an edit of none of the cases or a second one of a case, a case without edit that is not
            among `missing`, or a folder made with other settings.
    """
    check_cases(cases)
    missing = dict(missing or {})
    recipe = {
        "label": label, "seed": None, "steps": None, "batch": batch, "editor": fingerprint, "missing": missing,
        "edit_ids": edit_ids,
    }  # fmt: skip
    with RunFolder.open(out, STAGE, recipe, {"cases": cases_fingerprint(cases)}) as run:
        if not (run.path / EDITS).exists():
            order = {case.id: place for place, case in enumerate(cases)}
            write_edits(run.path / EDITS, _checked(edits, order, missing))
        _measure_all(run, cases, instruments, label=label, batch=batch, missing=missing, notes=notes)
    return BenchFolder.open(out)


def cases_fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 (hex) of everything about the cases that the figures depend on."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update("\0".join((case.id, case.task, case.source_id, case.group_key)).encode())
        if case.oracle is not None:
            digest.update(case.oracle.target.tobytes() + case.oracle.region.tobytes())
    return digest.hexdigest()


def check_cases(cases: Sequence[Case]) -> None:
    """HPEditError if there are no cases, or two with one id."""
    if not cases:
        raise HPEditError("the benchmark has no cases", hint="build some with `hpedit cases build`")
    ids = [case.id for case in cases]
    if len(set(ids)) < len(ids):
        repeated = next(name for name in ids if ids.count(name) > 1)
        raise HPEditError(f"case {repeated} appears twice in the benchmark", hint="ids must be unique")


def _all(scorer: Scorer | None, instruments: Instruments) -> Instruments:
    if scorer is None:
        return instruments
    return [(Instrument(scorer.fingerprint, "scorer", "HP-Scorer"), scorer), *instruments]


def _checked(edits: Iterable[Edit], order: Mapping[str, int], missing: Mapping[str, str]) -> Iterator[Edit]:
    """The edits as they come; HPEditError at the first that is of no case, and at the end for cases without one."""
    wanted = set(order) - set(missing)
    for edit in edits:
        if edit.case_id not in wanted:
            raise HPEditError(f"edit {edit.id} is of case {edit.case_id}, which is not asked for or has one already")
        wanted.discard(edit.case_id)
        yield edit
    if wanted:
        raise HPEditError(f"{len(wanted)} cases have no edit, the first is {min(wanted, key=order.__getitem__)}")


def _batches(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Batches of cases whose sources have the same sizes, since a batch shares the model's positions."""
    groups: dict[tuple[tuple[int, int], ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(tuple(image.size for image in case.sources), []).append(case)
    return [chunk for group in groups.values() for chunk in _chunks(group, size)]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _edit_all(
    run: RunFolder, editor: Editor, cases: Sequence[Case], *, seed: int, steps: int, label: str, batch: int
) -> None:
    """Write edits.parquet by way of one file a batch."""
    from hpedit.editors.sampling import edit_cases

    table, parts = run.path / EDITS, run.path / PARTS
    if not table.exists():
        parts.mkdir(exist_ok=True)
        batches = _batches(cases, batch)
        paths = [parts / f"{number:05d}.parquet" for number in range(len(batches))]
        done = sum(len(chunk) for chunk, path in zip(batches, paths, strict=True) if path.exists())
        with stage(f"edit ({label})", total=len(cases), done=done) as advance:
            for chunk, path in zip(batches, paths, strict=True):
                if path.exists():
                    continue
                began = time.monotonic()
                seeds = [edit_seed(case.id, seed) for case in chunk]
                images = edit_cases(editor, chunk, seeds, steps, batch_size=batch)
                write_edits(path, _edits(chunk, images, seeds, f"{editor.fingerprint}/{steps} steps", label))
                run.metrics({"stage": "edit", "count": len(chunk), "seconds": time.monotonic() - began})
                advance(len(chunk))
        write_edits(table, (edit for path in paths for edit in iter_edits(path)))
    shutil.rmtree(parts, ignore_errors=True)


def _edits(
    cases: Sequence[Case], images: Sequence[Image.Image], seeds: Sequence[int], editor: str, label: str
) -> list[Edit]:
    return [
        Edit(f"{label}:{case.id}", case.id, editor, seed, image)
        for case, image, seed in zip(cases, images, seeds, strict=True)
    ]


def _measure_all(
    run: RunFolder, cases: Sequence[Case], instruments: Instruments, *, label: str, batch: int,
    missing: Mapping[str, str] | None = None, notes: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Oracle, measures of the pixels and scores of every edit that has none, then result.json."""
    by_id = {case.id: case for case in cases}
    if not run.done:
        _add_rows(run, by_id, missing or {}, label=label, batch=batch)
    for instrument, scorer in instruments:
        _score_all(run, by_id, instrument, scorer, label=label, batch=batch)
    totals = stage_totals(run.path)
    seconds = {name: total["seconds"] for name, total in totals.items()}
    result = {"n": len(cases), "missing": len(missing or {}), "seconds": seconds, **(notes or {})}
    if not run.done or run.result()["seconds"] != seconds:
        run.finish(result)


def _add_rows(run: RunFolder, cases: Mapping[str, Case], missing: Mapping[str, str], *, label: str, batch: int) -> None:
    """A line of rows.jsonl for each case that has none."""
    rows = run.path / ROWS
    done = {row["case_id"] for row in read_jsonl(rows)}
    with stage(f"measure ({label})", total=len(cases), done=len(done)) as advance:
        for name, reason in missing.items():
            if name not in done:
                case = cases[name]
                append_jsonl(rows, BenchRow(name, "", case.task, case.source_id, 0, missing=reason).as_dict())
                advance(1)
        for edits in _chunks(iter_edits(run.path / EDITS), batch):
            left = [edit for edit in edits if edit.case_id not in done]
            began = time.monotonic()
            for edit in left:
                append_jsonl(rows, _row(cases[edit.case_id], edit).as_dict())
            if left:
                run.metrics({"stage": "measure", "count": len(left), "seconds": time.monotonic() - began})
                advance(len(left))


def _row(case: Case, edit: Edit) -> BenchRow:
    exact = case.oracle is not None
    return BenchRow(
        case.id, edit.id, case.task, case.source_id, edit.seed,
        oracle=score_edit(case, edit.image) if exact else None,
        copy_oracle=score_edit(case, case.source) if exact else None,
        alarms=measure_edit(edit.image, case.source),
        source_alarms=measure_source(case.source),
    )  # fmt: skip


def _score_all(
    run: RunFolder, cases: Mapping[str, Case], instrument: Instrument, scorer: Scorer, *, label: str, batch: int
) -> None:
    """Append a score for each edit that has none by this instrument."""
    file = scores_file(run.path, instrument)
    file.parent.mkdir(exist_ok=True)
    write_json(run.path / SCORES / f"{instrument.stem}.json", instrument.as_dict())
    if not file.exists():
        atomic_write(file, "")
    total = sum(1 for row in read_jsonl(run.path / ROWS) if not row.get("missing"))
    done = {line["edit_id"] for line in read_jsonl(file)}
    if len(done) == total:
        return
    with stage(f"{_VERBS[instrument.role]} ({label})", total=total, done=len(done)) as advance:
        for edits in _chunks(iter_edits(run.path / EDITS), batch):
            if all(edit.id in done for edit in edits):
                continue
            began = time.monotonic()
            # The whole batch again, even if a kill left some of it: a smaller batch may differ in its last bits.
            lines = _scores([cases[edit.case_id] for edit in edits], edits, scorer)
            missing = [line for line in lines if line["edit_id"] not in done]
            for line in missing:
                append_jsonl(file, line)
            run.metrics({"stage": instrument.role, "count": len(missing), "seconds": time.monotonic() - began})
            advance(len(missing))


_VERBS = {"scorer": "score", "second": "second judge"}


def _scores(cases: Sequence[Case], edits: Sequence[Edit], scorer: Scorer) -> list[dict[str, Any]]:
    scores = scorer.score(cases, [edit.image for edit in edits], [edit.id for edit in edits])
    if len(scores) != len(edits):
        raise HPEditError(f"the scorer gave {len(scores)} scores for {len(edits)} edits")
    return [
        {"edit_id": edit.id, "score": score.value, "std": score.std, "reason": score.reason}
        for edit, score in zip(edits, scores, strict=True)
    ]
