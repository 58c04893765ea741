"""What HP-Scorer with the mini judge is worth in the mini world, where an oracle knows the truth.

    python benchmarks/scorer_mini.py [--ratings 60] [--seed 0] [--curve] [--page FILE.html] [--write]

The base editor edits scenes of the calibration split, one simulated rater scores each edit once, the scorer is fitted,
and its scores of edits of the bench split are held against the oracle and against three raters an edit. No photo crop
is on both sides. `--curve` does so for growing numbers of rated edits; `--write` keeps the figures as the baseline.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.editors.load import load_editor
from hpedit.editors.sampling import edit_cases
from hpedit.mini.oracle import score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.raters import simulate_ratings
from hpedit.mini.scenes import make_cases
from hpedit.records import Case, Edit, Rating
from hpedit.scorer.evaluation.human_agreement import score_agreement
from hpedit.scorer.evaluation.learning_curve import learning_curve
from hpedit.scorer.evaluation.measure_tables import evaluate_table
from hpedit.scorer.fitting import answered_table, load_judges, rated_pictures
from hpedit.scorer.tables.fit_tables import RatedTable, fit_report, fit_table
from hpedit.stats.rater_agreement import mean_rating
from hpedit.store.atomic import atomic_write, dump_json

BASELINE = Path(__file__).parent / "baselines" / "scorer_mini.json"
STEPS, BATCH = 8, 48
NUMBERS = (10, 25, 50, 100)
MOST = 110
"""Edits a task that the curve can choose from."""


def make(split: str, per_task: int, seed: int) -> tuple[dict[str, Case], list[Edit]]:
    """Cases of a split by id, and the base editor's edit of each."""
    cases = make_cases(embedded_tiles(split), per_task, seed, split)
    images = edit_cases(load_editor("mini"), cases, list(range(len(cases))), STEPS, batch_size=BATCH)
    edits = [
        Edit(f"{case.id}-e", case.id, "base", n, image)
        for n, (case, image) in enumerate(zip(cases, images, strict=True))
    ]
    return {case.id: case for case in cases}, edits


def one_rating(ratings: list[Rating]) -> list[Rating]:
    """The first rating of each edit."""
    first = {rating.edit_id: rating for rating in reversed(ratings)}
    return list(first.values())


def first_edits(table: RatedTable, per_task: int) -> list[int]:
    """Rows of the first edits of each task."""
    seen: dict[str, int] = {}
    rows = []
    for row, task in enumerate(table.tasks):
        seen[task] = seen.get(task, 0) + 1
        if seen[task] <= per_task:
            rows.append(row)
    return rows


def part(table: RatedTable, rows: list[int]) -> RatedTable:
    """Some rows of a table."""
    return replace(
        table,
        edit_ids=tuple(table.edit_ids[row] for row in rows),
        sources=tuple(table.sources[row] for row in rows),
        tasks=tuple(table.tasks[row] for row in rows),
        ratings=table.ratings[rows],
        judges=tuple(replace(own, values=own.values[rows]) for own in table.judges),
    )


def joined(one: RatedTable, other: RatedTable) -> RatedTable:
    """Rows of two tables below each other; raters side by side."""
    width = one.ratings.shape[1] + other.ratings.shape[1]
    ratings = np.full((len(one.edit_ids) + len(other.edit_ids), width), np.nan)
    ratings[: len(one.edit_ids), : one.ratings.shape[1]] = one.ratings
    ratings[len(one.edit_ids) :, one.ratings.shape[1] :] = other.ratings
    judges = zip(one.judges, other.judges, strict=True)
    return replace(
        one,
        edit_ids=one.edit_ids + other.edit_ids,
        sources=one.sources + other.sources,
        tasks=one.tasks + other.tasks,
        ratings=ratings,
        judges=tuple(replace(a, values=np.vstack([a.values, b.values])) for a, b in judges),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=60, help="rated edits a task, one rating each")
    parser.add_argument("--held-out", type=int, default=40, help="edits a task to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    judge = load_judges(["mini"])
    cases, edits = make("calibration", max(asked.ratings, MOST if asked.curve else 0), asked.seed)
    ratings = one_rating(simulate_ratings([cases[edit.case_id] for edit in edits], edits, asked.seed))
    fitting = answered_table(judge, rated_pictures(cases, edits, ratings))
    bench, shown = make("bench", asked.held_out, asked.seed)
    people = simulate_ratings([bench[edit.case_id] for edit in shown], shown, asked.seed + 1)
    pictures = rated_pictures(bench, shown, people)
    held = answered_table(judge, pictures)
    truth = np.array([score_edit(case, edit.image) for case, edit in zip(pictures.cases, pictures.edits, strict=True)])
    started = time.perf_counter()
    chosen = part(fitting, first_edits(fitting, asked.ratings))
    calibration = fit_table(chosen)
    seconds = time.perf_counter() - started
    report = evaluate_table(calibration, held, seed=asked.seed)
    predicted, _ = calibration.predict(held.features, held.tasks)
    oracle = {
        name: score_agreement(score, truth, held.sources)["pearson"].as_dict()
        for name, score in (
            ("scorer", predicted),
            ("judge alone", held.overall()),
            ("raters", mean_rating(held.ratings)),
        )
    }
    found: dict[str, Any] = {
        "ratings": asked.ratings,
        "fit": {
            name: fit_report(calibration, chosen)[name] for name in ("n", "sources", "verdict", "questions", "pearson")
        },
        "fit_seconds": round(seconds, 1),
        "oracle": oracle,
        "people": {name: report[name] for name in ("pearson", "spearman", "pairwise_accuracy", "mae")},
        "human": {name: report["human"][name] for name in ("pearson", "pairwise_accuracy")},
    }
    if asked.curve:
        whole = joined(fitting, held)
        outside = [row >= len(fitting.edit_ids) for row in range(len(whole.edit_ids))]
        known = np.concatenate([mean_rating(fitting.ratings), truth])
        found["curve"] = learning_curve(whole, NUMBERS, target=known, held_out=outside, seed=asked.seed)
    print(json.dumps(found, indent=2))
    if asked.page:
        from hpedit.report.scorer_page import write_scorer_page

        write_scorer_page(asked.page, report, found.get("curve"), simulated=True)
    if asked.write:
        atomic_write(BASELINE, dump_json(found))


if __name__ == "__main__":
    main()
