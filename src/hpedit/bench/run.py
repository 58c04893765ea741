"""Edit and score every case of a benchmark with one model: `run_bench`.

The seed of an edit follows from the benchmark's seed and the case alone, so two models, and two runs of one, edit from
the same noise. Nothing done is done again: edits are kept by batch in parts/, scores line by line in rows.jsonl, and a
run that was killed at any moment continues with the same command to the same result.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from hpedit.bench.alarms import measure
from hpedit.editors.protocol import Editor
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.mini.oracle import score_edit
from hpedit.progress import stage
from hpedit.records import Case, Edit, Score
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import append_jsonl, read_json, read_jsonl
from hpedit.store.run_folder import METRICS, RECIPE, RESULT, RunFolder
from hpedit.store.tables import iter_edits, write_edits

EDITS, ROWS, PARTS = "edits.parquet", "rows.jsonl", "parts"
STAGE = "bench"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BenchRow:
    """What was measured on one case."""

    case_id: str
    edit_id: str
    task: str
    source_id: str
    seed: int
    score: float | None = None
    """HP-Scorer, 0-5; None = unscorable, or no scorer was given."""
    std: float | None = None
    reason: str | None = None
    """Why it is unscorable."""
    oracle: float | None = None
    """Oracle, 0-5; None for a case without an exact target."""
    copy_oracle: float | None = None
    """What the untouched source gets from the oracle."""
    alarms: Mapping[str, float] = field(default_factory=dict)
    """`hpedit.bench.alarms` of the edit."""
    source_alarms: Mapping[str, float] = field(default_factory=dict)
    """The same of the source."""

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        row = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return row | {"alarms": dict(self.alarms), "source_alarms": dict(self.source_alarms)}


@dataclass(frozen=True, slots=True)
class BenchFolder:
    """A finished benchmark of one model on disk."""

    path: Path
    label: str
    settings: Mapping[str, Any]
    """The recipe it was made with: editor, scorer, seed, steps."""
    seconds: Mapping[str, float]
    """Time spent editing and scoring, over all sittings."""

    @classmethod
    def open(cls, path: Path | str) -> BenchFolder:
        """Read a folder that `run_bench` has finished; HPEditError for any other."""
        path = Path(path)
        made = read_json(path / RECIPE)
        if made.get("stage") != STAGE:
            raise HPEditError(f"{path} is a folder of stage {made.get('stage')!r}, not of a benchmark")
        if not (path / RESULT).exists():
            raise HPEditError(f"{path} is not finished", hint="run the same benchmark again to continue it")
        return cls(path, made["recipe"]["label"], made["recipe"], read_json(path / RESULT)["seconds"])

    def rows(self) -> list[BenchRow]:
        """One row a case, in the order in which they were scored."""
        return [BenchRow(**row) for row in read_jsonl(self.path / ROWS)]

    def edits(self) -> Iterator[Edit]:
        """The edited images."""
        return iter_edits(self.path / EDITS)


def edit_seed(case_id: str, seed: int) -> int:
    """The seed of one case's noise: 63 bits, the same for every model."""
    digest = hashlib.sha256(f"{seed}:{case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def run_bench(
    editor: Editor,
    cases: Sequence[Case],
    scorer: Scorer | None,
    out: Path | str,
    *,
    seed: int = 0,
    steps: int,
    label: str,
    batch: int = 16,
) -> BenchFolder:
    """Edit and score all `cases`, or continue to, or return what is already there.

    Args:
        editor: The model, with its LoRA if it has one.
        cases: Held-out cases. Those with an exact target are also scored by the oracle.
        scorer: HP-Scorer, or None to leave its column out.
        out: The folder; one for each model.
        seed: Of the benchmark; models that are to be compared share it.
        steps: ODE steps of an edit.
        label: The model's name in tables: "base", "post", "control".
        batch: Cases edited or scored at a time; part of the recipe, since it may change the last bits of a float.

    Raises:
        HPEditError: No cases, repeated case ids, or a folder that was made otherwise.
    """
    _check_cases(cases)
    recipe = {"label": label, "seed": seed, "steps": steps, "batch": batch, "editor": editor.fingerprint}
    recipe["scorer"] = scorer.fingerprint if scorer else None
    out = Path(out)
    with RunFolder.open(out, STAGE, recipe, {"cases": cases_fingerprint(cases)}) as run:
        if not run.done:
            _edit_all(run, editor, cases, seed=seed, steps=steps, label=label, batch=batch)
            _score_all(run, cases, scorer, label=label, batch=batch)
            run.finish({"n": len(cases), "seconds": _seconds(out)})
    return BenchFolder.open(out)


def cases_fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 (hex) of everything about the cases that the figures depend on."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update("\0".join((case.id, case.task, case.source_id, case.group_key)).encode())
        if case.oracle is not None:
            digest.update(case.oracle.target.tobytes() + case.oracle.region.tobytes())
    return digest.hexdigest()


def _check_cases(cases: Sequence[Case]) -> None:
    if not cases:
        raise HPEditError("the benchmark has no cases", hint="build some with `hpedit cases build`")
    ids = [case.id for case in cases]
    if len(set(ids)) < len(ids):
        repeated = next(name for name in ids if ids.count(name) > 1)
        raise HPEditError(f"case {repeated} appears twice in the benchmark", hint="ids must be unique")


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


def _score_all(run: RunFolder, cases: Sequence[Case], scorer: Scorer | None, *, label: str, batch: int) -> None:
    """Append a row for each edit that has none."""
    by_id = {case.id: case for case in cases}
    rows = run.path / ROWS
    done = {row["edit_id"] for row in read_jsonl(rows)}
    with stage(f"score ({label})", total=len(cases), done=len(done)) as advance:
        for edits in _chunks(iter_edits(run.path / EDITS), batch):
            if all(edit.id in done for edit in edits):
                continue
            began = time.monotonic()
            # The whole batch again, even if a kill left some of it: a smaller batch may differ in its last bits.
            scores = _scores([by_id[edit.case_id] for edit in edits], edits, scorer)
            missing = [pair for pair in zip(edits, scores, strict=True) if pair[0].id not in done]
            for edit, score in missing:
                append_jsonl(rows, _row(by_id[edit.case_id], edit, score).as_dict())
            run.metrics({"stage": "score", "count": len(missing), "seconds": time.monotonic() - began})
            advance(len(missing))


def _scores(cases: Sequence[Case], edits: Sequence[Edit], scorer: Scorer | None) -> Sequence[Score | None]:
    if scorer is None:
        return [None] * len(edits)
    scores = scorer.score(cases, [edit.image for edit in edits], [edit.id for edit in edits])
    if len(scores) != len(edits):
        raise HPEditError(f"the scorer gave {len(scores)} scores for {len(edits)} edits")
    return scores


def _row(case: Case, edit: Edit, score: Score | None) -> BenchRow:
    exact = case.oracle is not None
    return BenchRow(
        case_id=case.id,
        edit_id=edit.id,
        task=case.task,
        source_id=case.source_id,
        seed=edit.seed,
        score=score.value if score else None,
        std=score.std if score else None,
        reason=score.reason if score else None,
        oracle=score_edit(case, edit.image) if exact else None,
        copy_oracle=score_edit(case, case.source) if exact else None,
        alarms=measure(edit.image),
        source_alarms=measure(case.source),
    )


def _seconds(path: Path) -> dict[str, float]:
    """Seconds per stage, summed over all sittings."""
    totals: dict[str, float] = {}
    for record in read_jsonl(path / METRICS):
        totals[record["stage"]] = totals.get(record["stage"], 0.0) + record["seconds"]
    return totals
