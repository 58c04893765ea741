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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.scorer.calibration.base_selection import FOLDS, folds
from hpedit.scorer.calibration.ensemble import fit_ensemble
from hpedit.scorer.calibration.judge_table import JudgeTable, make_judge_table
from hpedit.scorer.evaluation.human_agreement import agreement_report
from hpedit.scorer.tables.fit_tables import RatedTable, load_table
from hpedit.scorer.tables.ratings_import import import_ratings
from hpedit.stats.bootstrap import FloatArray, IntArray, source_index
from hpedit.stats.correlation import Resamples
from hpedit.stats.rater_agreement import mean_rating

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


@dataclass(frozen=True)
class Pooled:
    """Scores (n,) by fits without the edit's photo."""

    scores: FloatArray
    families: dict[str, FloatArray]
    """Each family alone, of the first judge."""
    chosen: list[str]
    """The first judge's families in each fold."""
    idle: list[list[str]]
    """In each fold, the judges without signal, or without weight."""


def pool(tables: Sequence[JudgeTable], parts: Sequence[tuple[IntArray, IntArray]]) -> Pooled:
    """Fit on each fold's training part, score its test part."""
    data = tables[0].data
    result = Pooled(np.full(len(data.target), np.nan), {}, [], [])
    for train, test in parts:
        fitted = [table.fit(train, singles=len(tables) == 1) for table in tables]
        held = np.column_stack([scores for _, scores, _ in fitted])
        names, tasks = [data.sources[row] for row in train.tolist()], [data.tasks[row] for row in test.tolist()]
        ensemble = fit_ensemble(held, [part.verdict == "ok" for part, _, _ in fitted], data.target[train], names)
        pairs = zip(tables, fitted, strict=True)
        own = [part.predict(table.answers.values[test], tasks) for table, (part, _, _) in pairs]
        result.scores[test] = ensemble.predict(*(np.column_stack([pair[k] for pair in own]) for k in range(2)))[0]
        weights = zip(ensemble.judges, ensemble.weights, strict=True)
        counted = {tables[k].answers.judge for k, weight in weights if weight > 0}
        sound = {part.judge for part, _, _ in fitted if part.verdict == "ok"}
        result.idle.append([table.answers.judge for table in tables if table.answers.judge not in counted & sound])
        result.chosen.append(fitted[0][2].base.name)
        for name, base in fitted[0][2].singles.items():
            column = result.families.setdefault(name, np.full(len(data.target), np.nan))
            column[test] = base.predict(data.answers[test], tasks)[0]
    return result


def measure(table: RatedTable, judges: Sequence[str], repeats: int) -> dict[str, Any]:
    """Both tables' figures for one combination of judges."""
    target = mean_rating(table.ratings)
    rated = np.flatnonzero(~np.isnan(target))
    tasks, sources = ([column[row] for row in rated.tolist()] for column in (table.tasks, table.sources))
    answers = [replace(own, values=own.values[rated]) for own in table.judges]
    tables = [make_judge_table(own, tasks, target[rated], sources, None, ()) for own in answers]
    raw = table.overall()[rated]
    known = np.flatnonzero(~np.isnan(raw))
    names = [sources[row] for row in known.tolist()]
    started = time.perf_counter()
    once = pool(tables, folds(sources, np.arange(len(rated))))
    seconds = time.perf_counter() - started
    report = agreement_report(once.scores, raw, table.ratings[rated], sources, tasks)
    again = [pool(tables, random_folds(sources, seed)) for seed in range(repeats)]
    candidates = {"scorer": [own.scores for own in again]}
    candidates |= {name: [own.families[name] for own in again] for name in once.families}
    return {
        "judges": list(judges),
        "seconds": seconds,
        "idle": once.idle,
        "chosen": once.chosen,
        "chosen_repeats": dict(Counter(name for own in again for name in own.chosen)),
        **{name: report[name] for name in SHOWN},
        "raw": {name: report["raw"][name] for name in SHOWN},
        "gain": {name: report["gain"][name] for name in SHOWN},
        "repeats": {
            name: _spread([_values(scores[known], target[rated][known], names) for scores in own])
            for name, own in candidates.items()
        },
    }


def _values(scores: FloatArray, target: FloatArray, sources: Sequence[str]) -> list[float]:
    found = Resamples.of(sources, resamples=0).measure(scores, target)
    return [float(found[name][0]) for name in SHOWN]


def _spread(rows: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": float(own.mean()), "sd": float(own.std()), "least": float(own.min()), "most": float(own.max())}
        for name, own in zip(SHOWN, np.array(rows).T, strict=True)
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", action="append", help="one combination; repeated. All of them if not given")
    parser.add_argument("--repeats", type=int, default=20, help="random folds, at least 1")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        import_ratings("imagenhub", options.data, Path(folder))
        edits, ratings, scores = (Path(folder) / name for name in ("edits.csv", "ratings.csv", "scores.csv"))
        for judges in [tuple(options.judge)] if options.judge else COMBINATIONS:
            found.append(measure(load_table(edits, ratings, scores, judges), judges, options.repeats))
            sys.stdout.write(_lines(found[-1]) + "\n")
            sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _lines(found: dict[str, Any]) -> str:
    lines = [f"{' + '.join(found['judges'])}   ({found['seconds']:.1f} s for five folds)"]
    for name in SHOWN:
        cells = [f"{own[name]['value']:.3f} {_interval(own[name])}" for own in (found, found["raw"], found["gain"])]
        lines.append(f"  {name:18} {cells[0]:24} raw {cells[1]:24} gain {cells[2]}")
    for candidate, spreads in found["repeats"].items():
        shown = [
            f"{spread['mean']:.4f} +- {spread['sd']:.4f} ({spread['least']:.3f}-{spread['most']:.3f})"
            for spread in spreads.values()
        ]
        lines.append(f"  random folds, {candidate:8} " + "   ".join(shown))
    idle = sorted({judge for names in found["idle"] for judge in names})
    counts = ", ".join(f"{judge} in {sum(judge in names for names in found['idle'])}" for judge in idle)
    lines.append(f"  without signal or weight, of {FOLDS} folds: {counts or 'nobody'}")
    lines.append(f"  {found['judges'][0]} by {found['chosen_repeats']}")
    return "\n".join(lines)


def _interval(own: dict[str, Any]) -> str:
    low, high = own["ci95"]
    return "" if low is None else f"[{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
