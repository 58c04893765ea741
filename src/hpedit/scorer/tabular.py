"""Fit a scorer on tables: edits.csv, ratings.csv, scores.csv (see `ratings_import`).

The edits' table decides what is used: ratings and scores of other edits are ignored, so that a part of the edits can
be chosen by filtering that one file. Edits that nobody rated are left out and counted; an edit whose answers are
missing or unreadable is unscorable, left out and counted. What can only be a mistake is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.agreement import mean_rating
from hpedit.scorer.calibration import Calibration, fit_calibration
from hpedit.scorer.csv_rows import Row, index_rows, read_rows
from hpedit.scorer.judges import RUBRICS, find_rubric, parse_answer
from hpedit.scorer.statistics import FloatArray
from hpedit.store.atomic import atomic_write, dump_json, read_json

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, slots=True)
class Table:
    """Edits in the order of their ids, with what people and one judge said of them."""

    edit_ids: tuple[str, ...]
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    ratings: FloatArray
    """(n, r), NaN = that rater did not rate it."""
    feature_names: tuple[str, ...]
    features: FloatArray
    """(n, f), NaN = missing; the first is the judge's own overall score, 0 to 5."""
    unreadable: Mapping[str, int]
    """Answers that are missing or unreadable, counted by reason."""


def fit(edits: Path, ratings: Path, scores: Path, judge: str, out: Path) -> dict[str, Any]:
    """Fit a calibration of ``judge`` and write it to ``out``/calibration.json, replacing one that is there.

    Returns:
        JSON values: judge, scorer (fingerprint), n, sources, unrated, unscorable, unscorable_reasons, the
        cross-validated pearson, rmse, verdict with reason, path.

    Raises:
        HPEditError: the tables or the ratings cannot be used, ``out`` holds other things.
    """
    table = load_table(edits, ratings, scores, judge)
    target = mean_rating(table.ratings)
    rated = np.flatnonzero(~np.isnan(target))
    calibration = fit_calibration(
        table.features[rated],
        table.feature_names,
        [table.tasks[row] for row in rated],
        target[rated],
        [table.sources[row] for row in rated],
        judge,
    )
    path = _prepare(out) / CALIBRATION_FILE
    atomic_write(path, dump_json(calibration.to_json()))
    return {
        "judge": judge,
        "scorer": calibration.fingerprint,
        "n": calibration.n,
        "sources": len(calibration.sources),
        "unrated": len(target) - len(rated),
        "unscorable": len(rated) - calibration.n,
        "unscorable_reasons": dict(table.unreadable),
        "pearson": calibration.pearson.as_dict(),
        "rmse": calibration.rmse,
        "verdict": calibration.verdict,
        "reason": calibration.reason,
        "path": str(path),
    }


def load_scorer(folder: Path) -> Calibration:
    """Read a scorer's calibration from its folder (HPEditError if there is none or it is damaged)."""
    return Calibration.from_json(read_json(folder / CALIBRATION_FILE))


def load_table(edits: Path, ratings: Path, scores: Path, judge: str) -> Table:
    """Read and join the three tables.

    Raises:
        HPEditError: a file, column or name is missing; an edit, a rating or a score is there twice; a rating is not a
            number in 0 to 5; the judge is not in the scores; ratings or scores have no edit in common with the edits.
    """
    rows = index_rows(read_rows(edits, ("edit_id", "source_id")), ("edit_id",))
    if not rows:
        raise HPEditError(f"{edits} has no edits")
    ids = tuple(sorted(key[0] for key in rows))
    names, features, unreadable = _read_scores(scores, judge, ids)
    return Table(
        edit_ids=ids,
        sources=tuple(rows[edit,].name("source_id") for edit in ids),
        tasks=tuple(rows[edit,].cells.get("task", "") for edit in ids),
        ratings=_read_ratings(ratings, ids),
        feature_names=names,
        features=features,
        unreadable=unreadable,
    )


def _read_ratings(path: Path, ids: Sequence[str]) -> FloatArray:
    """(n, r) ratings of the given edits; a column a rater, in the order of their names."""
    rows = index_rows(read_rows(path, ("edit_id", "rater", "score")), ("edit_id", "rater"))
    position = {edit: number for number, edit in enumerate(ids)}
    raters = {rater: number for number, rater in enumerate(sorted({rater for _, rater in rows}))}
    ratings = np.full((len(ids), max(1, len(raters))), np.nan)
    for (edit, rater), row in rows.items():
        value, problem = parse_answer(row["score"], (MIN_SCORE, MAX_SCORE))
        if problem and row["score"]:
            raise HPEditError(f"{row.where}: score {row['score']!r} is {problem}", hint="a rating is from 0 to 5")
        if edit in position:
            ratings[position[edit], raters[rater]] = value
    if np.isnan(ratings).all():
        raise HPEditError(f"{path} has no rating of these edits", hint="the edit_id of both tables must agree")
    return ratings[:, ~np.isnan(ratings).all(axis=0)]


def _read_scores(path: Path, judge: str, ids: Sequence[str]) -> tuple[tuple[str, ...], FloatArray, dict[str, int]]:
    """Feature names, features (n, f) of the given edits, and the reasons of what is missing."""
    rows = read_rows(path, ("edit_id", "judge"))
    judges = sorted({row["judge"] for row in rows})
    if judge not in judges:
        raise HPEditError(f"{path} has no judge {judge!r}", hint=f"its judges are: {', '.join(judges) or 'none'}")
    own = index_rows([row for row in rows if row["judge"] == judge], ("edit_id",))
    if not any((edit,) in own for edit in ids):
        raise HPEditError(
            f"{path} has no score by {judge} of these edits", hint="the edit_id of both tables must agree"
        )
    columns = _answered(list(own.values()))
    rubric = find_rubric(columns) or find_rubric(tuple(rows[0].cells))
    if rubric is None:
        known = "; or ".join(", ".join(rubric.required) for rubric in RUBRICS.values())
        raise HPEditError(f"{path} has no answers that we know how to read", hint=f"columns: {known}")
    answers: dict[str, FloatArray] = {}
    reasons: Counter[str] = Counter()
    for question in (name for name in rubric.ranges if name in rubric.required or name in columns):
        values = [_answer(own.get((edit,)), question, rubric.ranges[question], reasons) for edit in ids]
        answers[question] = np.array(values)
    return *rubric.features(answers), dict(sorted(reasons.items()))


def _answered(rows: Sequence[Row]) -> list[str]:
    """Columns in which at least one of the rows is not empty."""
    return [name for name in rows[0].cells if any(row[name] for row in rows)]


def _answer(row: Row | None, question: str, scale: tuple[float, float], reasons: Counter[str]) -> float:
    if row is None:
        value, problem = np.nan, "no row in the table of scores"
    else:
        value, problem = parse_answer(row[question], scale)
    if problem:
        reasons[f"{question}: {problem}"] += 1
    return value


def _prepare(out: Path) -> Path:
    """Make the folder; HPEditError if it is a file or holds anything but a scorer."""
    if out.exists() and (not out.is_dir() or any(entry.name != CALIBRATION_FILE for entry in out.iterdir())):
        raise HPEditError(f"{out} is there and is not a scorer's folder", hint="choose another folder for --out")
    out.mkdir(parents=True, exist_ok=True)
    return out
