"""Finished benchmark folders with planted scores, for tests of what is made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpedit.bench.bench_folder import ROWS, SCORES, STAGE, BenchFolder, BenchRow, Instrument, scores_file
from hpedit.bench.pixel_measures import PIXEL_MEASURES
from hpedit.store.run_folder import RunFolder
from hpedit.tasks import TASK_IDS

SETTINGS = {"seed": 0, "steps": 4, "batch": 8, "editor": "e"}
SCORER = Instrument("s", "scorer", "scorer", judges=("j",))
SECOND = Instrument("t", "second", "other", judges=("k",))


def rows(
    label: str, count: int, shift: float = 0.0, *, exact: bool = True, missing: Sequence[int] = ()
) -> list[BenchRow]:
    """`count` rows, two a photo, all tasks in turn; the oracle is a base between 1.5 and 3.5, plus `shift`."""
    rng = np.random.default_rng(0)
    result = []
    for index in range(count):
        value = 1.5 + 2 * rng.random() + shift
        levels = {name: 0.2 + 0.01 * rng.random() for name in PIXEL_MEASURES}
        gone = index in missing
        result.append(
            BenchRow(
                case_id=f"case-{index}",
                edit_id="" if gone else f"{label}:case-{index}",
                task=TASK_IDS[index % 8],
                source_id=f"photo-{index // 2}",
                seed=index,
                oracle=value if exact and not gone else None,
                copy_oracle=0.1 if exact and not gone else None,
                alarms={} if gone else levels,
                source_alarms={} if gone else levels,
                missing="no image" if gone else None,
            )
        )
    return result


def planted(
    path: Path,
    label: str,
    table: Sequence[BenchRow],
    instruments: Sequence[tuple[Instrument, float]] = ((SCORER, 0.2),),
    *,
    unscorable: Sequence[int] = (),
    **settings: object,
) -> BenchFolder:
    """A finished folder: each instrument gives the oracle's value (or 3) plus its offset."""
    with RunFolder.open(path, STAGE, {**SETTINGS, "label": label, **settings}, {"cases": "c"}) as run:
        (path / ROWS).write_text("".join(json.dumps(row.as_dict()) + "\n" for row in table))
        (path / SCORES).mkdir()
        for one, offset in instruments:
            (path / SCORES / f"{one.stem}.json").write_text(json.dumps(one.as_dict()))
            lines = [_line(row, offset, index in unscorable) for index, row in enumerate(table) if not row.missing]
            scores_file(path, one).write_text("".join(json.dumps(line) + "\n" for line in lines))
        run.metrics({"stage": "edit", "count": len(table), "seconds": 2.0})
        run.finish({"n": len(table)})
    return BenchFolder.open(path)


def _line(row: BenchRow, offset: float, blind: bool) -> dict[str, object]:
    score = None if blind else min(5.0, (3.0 if row.oracle is None else row.oracle) + offset)
    return {"edit_id": row.edit_id, "score": score, "std": None, "reason": "no digit" if blind else None}
