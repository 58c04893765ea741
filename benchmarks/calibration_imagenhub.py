"""What a calibration is worth on photos it has not seen: nested cross-validation by photo on ImagenHub's ratings.

    python benchmarks/calibration_imagenhub.py --data DIR [--judge NAME ...] [--repeats 20] [--json FILE]

DIR holds edits.csv, human_ratings.csv and vlm_scores.csv as `hpedit ratings import --format imagenhub` reads them. All
that a fit chooses it chooses within the training folds; scores of the five test folds are pooled. The first table deals
the photos into folds once, by a hash of their names, and has intervals over photos; the second repeats it over random
folds, and shows how much of a figure is the luck of the folds. Only edits that the judge's own overall score exists
for are measured, so that both columns are of the same edits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.scorer.agreement import mean_rating
from hpedit.scorer.blend import fit_blend
from hpedit.scorer.evaluation import agreement_report
from hpedit.scorer.parts import JudgeTable, make_table
from hpedit.scorer.ratings_import import import_ratings
from hpedit.scorer.selection import FOLDS, folds
from hpedit.scorer.statistics import FloatArray, IntArray, source_index
from hpedit.scorer.tabular import Table, load_table

COMBINATIONS = (
    ("gpt4o_0shot",),
    ("gemini_0shot",),
    ("llava_0shot",),
    ("gpt4o_0shot", "gemini_0shot"),
    ("gpt4o_0shot", "gemini_0shot", "llava_0shot"),
)
SHOWN = ("pearson", "spearman", "pairwise_accuracy")


def random_folds(sources: Sequence[str], seed: int) -> list[tuple[IntArray, IntArray]]:
    """List (train, test) rows of folds with the photos in random order."""
    names, index = source_index(sources)
    member = np.random.default_rng(seed).permutation(len(names))[index] % FOLDS
    return [(np.flatnonzero(member != k), np.flatnonzero(member == k)) for k in range(FOLDS)]


def pooled(
    tables: Sequence[JudgeTable], parts: Sequence[tuple[IntArray, IntArray]]
) -> tuple[FloatArray, list[list[str]]]:
    """Scores (n,) by fits without the edit's photo, and the judges that got no weight in each fold."""
    data = tables[0].data
    scores, idle = np.full(len(data.target), np.nan), []
    for train, test in parts:
        fitted = [table.fit(train) for table in tables]
        held = np.column_stack([scores for _, scores, _ in fitted])
        names = [data.sources[row] for row in train.tolist()]
        blend = fit_blend(held, [part.verdict == "ok" for part, _, _ in fitted], data.target[train], names)
        tasks = [data.tasks[row] for row in test.tolist()]
        own = [
            part.predict(table.answers.values[test], tasks) for table, (part, _, _) in zip(tables, fitted, strict=True)
        ]
        scores[test] = blend.predict(*(np.column_stack([pair[number] for pair in own]) for number in range(2)))[0]
        counted = {number for number, weight in zip(blend.judges, blend.weights, strict=True) if weight > 0}
        idle.append([table.answers.judge for number, table in enumerate(tables) if number not in counted])
    return scores, idle


def measure(table: Table, judges: Sequence[str], repeats: int) -> dict[str, Any]:
    """Both tables' figures for one combination of judges."""
    target = mean_rating(table.ratings)
    rated = np.flatnonzero(~np.isnan(target))
    tasks, sources = ([column[row] for row in rated.tolist()] for column in (table.tasks, table.sources))
    tables = [
        make_table(
            type(own)(own.judge, own.names, own.values[rated], own.derived), tasks, target[rated], sources, None, ()
        )
        for own in table.judges
    ]
    raw = table.overall()[rated]
    started = time.perf_counter()
    scores, idle = pooled(tables, folds(sources, np.arange(len(rated))))
    seconds = time.perf_counter() - started
    report = agreement_report(scores, raw, table.ratings[rated], sources, tasks)
    rows = []
    for seed in range(repeats):
        again, _ = pooled(tables, random_folds(sources, seed))
        found = agreement_report(again, raw, table.ratings[rated], sources, tasks)
        rows.append([found[name]["value"] for name in SHOWN])
    return {
        "judges": list(judges),
        "seconds": seconds,
        "no_weight": idle,
        **{name: report[name] for name in SHOWN},
        "raw": {name: report["raw"][name] for name in SHOWN},
        "gain": {name: report["gain"][name] for name in SHOWN if name in report["gain"]},
        "repeats": {name: _spread([row[number] for row in rows]) for number, name in enumerate(SHOWN)},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    own = np.array(values)
    return {"mean": own.mean(), "sd": own.std(), "least": own.min(), "most": own.max()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", action="append", help="one combination; repeated. All of them if not given")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        import_ratings("imagenhub", options.data, Path(folder))
        files = [Path(folder) / name for name in ("edits.csv", "ratings.csv", "scores.csv")]
        for judges in [tuple(options.judge)] if options.judge else COMBINATIONS:
            found.append(measure(load_table(*files, judges), judges, options.repeats))
            sys.stdout.write(_lines(found[-1]) + "\n")
            sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _lines(found: dict[str, Any]) -> str:
    lines = [f"{' + '.join(found['judges'])}   ({found['seconds']:.1f} s for five folds)"]
    for name in SHOWN:
        cells = []
        for own in (found[name], found["raw"][name], found["gain"].get(name)):
            low, high = own["ci95"] if own else (None, None)
            cells.append(f"{own['value']:.3f} [{low:.3f}, {high:.3f}]" if own and low is not None else "")
        spread = found["repeats"][name]
        random = (
            f"{spread['mean']:.4f} +- {spread['sd']:.4f} ({spread['least']:.4f}-{spread['most']:.4f})" if spread else ""
        )
        lines.append(f"  {name:18} {cells[0]:24} raw {cells[1]:24} gain {cells[2]:24} random folds {random}")
    idle = sorted({judge for names in found["no_weight"] for judge in names})
    counts = ", ".join(f"{judge} in {sum(judge in names for names in found['no_weight'])}" for judge in idle)
    lines.append(f"  without weight, of {FOLDS} folds: {counts or 'nobody'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
