"""How well the mini judge ranks the edits within a case, by the mini world's oracle.

    python benchmarks/mini_judge.py                       # tiles of the bench split, which no training saw
    python benchmarks/mini_judge.py --photos DIR --json

A number of edits of each case by the base editor are scored by the judge alone, without calibration. Spearman and
Pearson are means over cases; the pick share is what the judge's favourite gains over the mean edit, as a share of what
the best edit gains. Pearson over all edits is given beside them. Intervals (95 %) resample photos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpedit.editors.load import load_editor
from hpedit.editors.sampling import edit_cases
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.mini.oracle import score_edit
from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.scorer.prompts import score_question
from hpedit.stats.ranking import Scores, case_rows, correlation, groups, summary
from hpedit.tasks import TASK_IDS

BATCH = 48
RESAMPLES = 1000
NAMES = ("spearman", "pearson", "pick_share", "pooled_pearson")


def scored_edits(cases: Sequence[Case], asked: argparse.Namespace) -> tuple[Scores, Scores]:
    """Scores (cases, edits) of the judge and of the oracle."""
    editor, judge = load_editor(asked.editor, device="cpu"), TransformersJudge.load(asked.judge, device="cpu")
    repeated = [case for case in cases for _ in range(asked.edits)]
    seeds = [asked.seed * 10**6 + number for number in range(len(repeated))]
    images = edit_cases(editor, repeated, seeds, asked.steps, batch_size=BATCH)
    answers = judge.ask([score_question(case, image) for case, image in zip(repeated, images, strict=True)])
    unreadable = [answer.reason for answer in answers if answer.expected is None]
    if unreadable:
        raise SystemExit(f"{len(unreadable)} answers can't be read: {unreadable[0]}")
    found = np.array([answer.expected for answer in answers], np.float64)
    right = np.array([score_edit(case, image) for case, image in zip(repeated, images, strict=True)])
    shape = (len(cases), asked.edits)
    return found.reshape(shape), right.reshape(shape)


def figures(found: Scores, right: Scores, photos: Sequence[str], seed: int) -> dict[str, Any]:
    """Each of NAMES with its interval, for cases (n, edits) of the photos given."""
    own = list(groups(photos).values())
    rng = np.random.default_rng(seed)
    # A case counts as often as its photo is drawn.
    draws = [np.concatenate([own[i] for i in rng.integers(len(own), size=len(own))]) for _ in range(RESAMPLES)]
    each = [case_rows(mine, true, [0] * len(mine)) for mine, true in zip(found, right, strict=True)]
    drawn = [_values(found, right, each, rows) for rows in draws]
    low, high = np.nanpercentile(np.array(drawn), (2.5, 97.5), axis=0)
    values = _values(found, right, each, np.arange(len(found)))
    return {
        name: {"value": round(v, 3), "ci95": [round(float(a), 3), round(float(b), 3)]}
        for name, v, a, b in zip(NAMES, values, low, high, strict=True)
    } | {"cases": len(found), "photos": len(own)}


def _values(found: Scores, right: Scores, each: Sequence[Scores], rows: Any) -> list[float]:
    within = summary(np.concatenate([each[row] for row in rows]))
    return [within.get(name, float("nan")) for name in NAMES[:3]] + [
        correlation(found[rows].ravel(), right[rows].ravel())
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", default="mini", help="a folder, or mini")
    parser.add_argument("--editor", default="mini", help="whose edits are ranked")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--split", default="bench", help="whose tiles the cases stand on")
    parser.add_argument("--per-task", type=int, default=20, help="cases of each task")
    parser.add_argument("--edits", type=int, default=12, help="of each case")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cases = World(photos=asked.photos).cases(asked.split, asked.per_task, asked.seed)
    found, right = scored_edits(cases, asked)
    photos, tasks = [case.source_id for case in cases], np.array([case.task for case in cases])
    report = {"all": figures(found, right, photos, asked.seed)}
    for task in TASK_IDS:
        rows = np.flatnonzero(tasks == task)
        report[task] = figures(found[rows], right[rows], [photos[row] for row in rows], asked.seed)
    if asked.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{'':12}" + "".join(f"{name:>24}" for name in NAMES))
    for name, own in report.items():
        cells = (f"{own[n]['value']:.2f} [{own[n]['ci95'][0]:.2f}, {own[n]['ci95'][1]:.2f}]" for n in NAMES)
        print(f"{name:12}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
