"""Fit a scorer on tables: edits.csv, ratings.csv, scores.csv (see `ratings_import`).

The table of edits decides what is used: ratings and scores of other edits are ignored, so that filtering this one file
selects a subset. Unrated edits, and unscorable ones (missing or unreadable answers), are left out and counted.
Inconsistent tables are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.calibration.calibration import Calibration, Columns, join_names
from hpedit.scorer.calibration.fit import fit_judges
from hpedit.scorer.calibration.judge_table import JudgeAnswers
from hpedit.scorer.prompts import PREFIX
from hpedit.scorer.tables.rubrics import RUBRICS, Rubric, columns_rubric, find_rubric, parse_answer
from hpedit.stats.bootstrap import FloatArray, IntArray
from hpedit.stats.rater_agreement import mean_rating
from hpedit.store.atomic import read_json, write_json
from hpedit.store.csv_rows import CsvRow, index_csv_rows, read_csv_rows

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, slots=True)
class RatedTable:
    """Rated edits with judges' answers, in the order of their ids."""

    edit_ids: tuple[str, ...]
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    ratings: FloatArray
    """(n, r), NaN = that rater did not rate it."""
    judges: tuple[JudgeAnswers, ...]
    unreadable: Mapping[str, int]
    """Answers that are missing or unreadable, counted by reason."""
    exclusive: Sequence[Collection[str]] = ()
    """Groups of questions of which a fit keeps at most one a task."""
    columns: Columns = field(default_factory=dict)
    """Worst and best answer by column, for a table whose rubric is not a known one."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Feature names of all judges in a row; with several judges each begins with its judge's name."""
        return join_names([(own.judge, own.names) for own in self.judges])

    @property
    def features(self) -> FloatArray:
        """(n, f) features of all judges in a row, NaN = missing."""
        return np.hstack([own.values for own in self.judges])

    def rows(self, rows: IntArray) -> RatedTable:
        """The same table with some of its edits."""
        columns = (self.edit_ids, self.sources, self.tasks)
        ids, sources, tasks = (tuple(column[row] for row in rows.tolist()) for column in columns)
        judges = tuple(replace(own, values=own.values[rows]) for own in self.judges)
        return replace(self, edit_ids=ids, sources=sources, tasks=tasks, ratings=self.ratings[rows], judges=judges)

    def overall(self, judge: int = 0) -> FloatArray:
        """(n,) a judge's own overall score, 0 to 5, NaN = missing."""
        own: FloatArray = self.judges[judge].values[:, 0]
        return own


def fit_tables(
    edits: Path, ratings: Path, scores: Path, judge: str | Sequence[str], out: Path, columns: Columns | None = None
) -> dict[str, Any]:
    """Fit a calibration of one or several judges and write it to ``out``/calibration.json, replacing one there.

    Args:
        edits: table of edits, which decides what is used.
        ratings: table of ratings.
        scores: table of the judges' answers.
        judge: name of a judge, or names.
        out: folder to write to.
        columns: worst and best answer by column, for a table whose rubric is not a known one.

    Returns:
        JSON values: judge, scorer (fingerprint), n, sources, unrated, unscorable, unscorable_reasons, the
        cross-validated pearson, rmse, verdict with reason, judges ({name: verdict, reason, weight, pearson}),
        questions by task, choice (see `choice.describe`), path.

    Raises:
        HPEditError: the tables or the ratings cannot be used, ``out`` holds other things.
    """
    table = load_table(edits, ratings, scores, judge, columns)
    calibration = fit_table(table)
    path = _prepare(out) / CALIBRATION_FILE
    write_json(path, calibration.to_json())
    return {**fit_report(calibration, table), "path": str(path)}


def fit_table(table: RatedTable) -> Calibration:
    """Fit a calibration on the rated edits of a table; HPEditError as in `fit_judges`."""
    rated = table.rows(np.flatnonzero(~np.isnan(mean_rating(table.ratings))))
    target = mean_rating(rated.ratings)
    return fit_judges(
        rated.judges, rated.tasks, target, rated.sources, exclusive=table.exclusive, columns=table.columns
    )


def fit_report(calibration: Calibration, table: RatedTable) -> dict[str, Any]:
    """Report of a fit as JSON values; see `fit_tables`."""
    rated = int((~np.isnan(mean_rating(table.ratings))).sum())
    return {
        "judge": calibration.judge,
        "scorer": calibration.fingerprint,
        "n": calibration.n,
        "sources": len(calibration.sources),
        "unrated": len(table.edit_ids) - rated,
        "unscorable": rated - calibration.n,
        "unscorable_reasons": dict(table.unreadable),
        "pearson": calibration.pearson.as_dict(),
        "rmse": calibration.rmse,
        "verdict": calibration.verdict,
        "reason": calibration.reason,
        "judges": calibration.judges_report(),
        "questions": {task: list(names) for task, names in calibration.questions.items()},
        "choice": dict(calibration.choice),
    }


def load_calibration(folder: Path) -> Calibration:
    """Read a scorer's calibration from its folder; HPEditError if there is none or it is damaged."""
    return Calibration.from_json(read_json(folder / CALIBRATION_FILE))


def load_table(
    edits: Path, ratings: Path, scores: Path, judge: str | Sequence[str], columns: Columns | None = None
) -> RatedTable:
    """Read and join the tables of edits, ratings and scores.

    Args:
        edits: edit_id, source_id, and optionally task.
        ratings: edit_id, rater, score.
        scores: edit_id, judge, and a column a question.
        judge: name of a judge, or names.
        columns: worst and best answer by column, for a table whose rubric is not a known one.

    Raises:
        HPEditError: a file, column or name is missing; an edit, a rating or a score is there twice; a rating is not a
            number in 0 to 5; a judge is not in the scores; ratings or scores have no edit in common with the edits.
    """
    rows = index_csv_rows(read_csv_rows(edits, ("edit_id", "source_id")), ("edit_id",))
    if not rows:
        raise HPEditError(f"{edits} has no edits")
    ids = tuple(sorted(key[0] for key in rows))
    names = (judge,) if isinstance(judge, str) else tuple(judge)
    table, reasons = read_csv_rows(scores, ("edit_id", "judge")), Counter[str]()
    judges = tuple(_read_scores(scores, table, name, ids, columns or {}, reasons) for name in names)
    return RatedTable(
        edit_ids=ids,
        sources=tuple(rows[edit,].name("source_id") for edit in ids),
        tasks=tuple(rows[edit,].cells.get("task", "") for edit in ids),
        ratings=_read_ratings(ratings, ids),
        judges=judges,
        unreadable=dict(sorted(reasons.items())),
        columns=columns or {},
    )


def _read_ratings(path: Path, ids: Sequence[str]) -> FloatArray:
    """(n, r) ratings of the given edits; a column a rater, in the order of their names."""
    rows = index_csv_rows(read_csv_rows(path, ("edit_id", "rater", "score")), ("edit_id", "rater"))
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


def _read_scores(
    path: Path, rows: Sequence[CsvRow], judge: str, ids: Sequence[str], columns: Columns, reasons: Counter[str]
) -> JudgeAnswers:
    """A judge's features (n, f) of the given edits; the reasons of what is missing are added to ``reasons``."""
    judges = sorted({row["judge"] for row in rows})
    if judge not in judges:
        raise HPEditError(f"{path} has no judge {judge!r}", hint=f"its judges are: {', '.join(judges) or 'none'}")
    own = index_csv_rows([row for row in rows if row["judge"] == judge], ("edit_id",))
    if not any((edit,) in own for edit in ids):
        raise HPEditError(
            f"{path} has no score by {judge} of these edits", hint="the edit_id of both tables must agree"
        )
    answered = _answered(list(own.values()))
    rubric = _rubric(path, answered, list(rows[0].cells), columns)
    answers: dict[str, FloatArray] = {}
    for question in (name for name in rubric.ranges if name in rubric.required or name in answered):
        values = [_answer(own.get((edit,)), question, rubric.ranges[question], reasons) for edit in ids]
        answers[question] = np.array(values)
    names, features = rubric.features(answers)
    asked = [name for name in answered if name.startswith(PREFIX)]
    # A question that was not asked is not a failure: its gaps are not counted.
    replies = [[_answer(own.get((edit,)), name, (0.0, 1.0), Counter()) for edit in ids] for name in asked]
    return JudgeAnswers(judge, (*names, *asked), np.column_stack([features, *map(np.array, replies)]), rubric.derived)


def _rubric(path: Path, answered: Sequence[str], header: Sequence[str], columns: Columns) -> Rubric:
    """The user's own rubric if columns are given, or else a known one."""
    missing = [name for name in columns if name not in header]
    if missing:
        raise HPEditError(f"{path} has no column {', '.join(missing)}", hint=f"its columns are: {', '.join(header)}")
    rubric = columns_rubric(columns) if columns else find_rubric(answered) or find_rubric(header)
    if rubric is None:
        known = "; or ".join(", ".join(rubric.required) for rubric in RUBRICS.values())
        raise HPEditError(
            f"{path} has no answers that we know how to read",
            hint=f"columns: {known}; or say what others mean with --columns name:worst:best",
        )
    return rubric


def _answered(rows: Sequence[CsvRow]) -> list[str]:
    """Columns in which at least one of the rows is not empty."""
    return [name for name in rows[0].cells if any(row[name] for row in rows)]


def _answer(row: CsvRow | None, question: str, scale: tuple[float, float], reasons: Counter[str]) -> float:
    if row is None:
        value, problem = np.nan, "no row in the table of scores"
    else:
        value, problem = parse_answer(row[question], scale)
    if problem:
        reasons[f"{question}: {problem}"] += 1
    return value


def _prepare(out: Path) -> Path:
    """Create the folder; HPEditError if it is a file or holds anything but a scorer."""
    if out.exists() and (not out.is_dir() or any(entry.name != CALIBRATION_FILE for entry in out.iterdir())):
        raise HPEditError(f"{out} is there and is not a scorer's folder", hint="choose another folder for --out")
    out.mkdir(parents=True, exist_ok=True)
    return out
