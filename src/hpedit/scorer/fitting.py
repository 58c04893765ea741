"""Fit and evaluate scorers on rated images: judges are loaded and asked here, unlike in `tables`.

pictures = read_pictures(cases, edits, ratings)
scorer, report = fit_judged(pictures, load_judges(["mini"]), out)      # `hpedit scorer fit --cases ...`
report, curve = measure_judged(pictures, out)                          # `hpedit scorer eval --cases ...`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpedit.errors import HPEditError
from hpedit.judges.loading import load_judge
from hpedit.judges.protocol import Judge
from hpedit.records import Case, Edit, Rating
from hpedit.scorer.calibration.judge_table import JudgeAnswers
from hpedit.scorer.evaluation.learning_curve import learning_curve
from hpedit.scorer.evaluation.measure_tables import Curve, evaluate_table, judges_of
from hpedit.scorer.features import FEATURES, ask_features
from hpedit.scorer.hp_scorer import HPScorer, save_scorer
from hpedit.scorer.prompts import EXCLUSIVE
from hpedit.scorer.tables.fit_tables import RatedTable, fit_report, fit_table
from hpedit.stats.bootstrap import FloatArray
from hpedit.store.tables import iter_edits, read_ratings


class EditedCases(Protocol):
    """A folder or table of cases, such as `hpedit.cases.folder.CasesFolder`; `str()` gives its path."""

    def candidates(self) -> Iterator[Case]:
        """All cases that were edited."""
        ...

    def edits(self) -> Iterator[Edit]:
        """Their edits; HPEditError if the folder has none."""
        ...


@dataclass(frozen=True, slots=True)
class RatedPictures:
    """Edits with human ratings, and their cases."""

    cases: tuple[Case, ...]
    """(n,) one for each edit."""
    edits: tuple[Edit, ...]
    ratings: FloatArray
    """(n, r), one column per rater, NaN = did not rate."""


def rated_pictures(cases: Mapping[str, Case], edits: Sequence[Edit], ratings: Sequence[Rating]) -> RatedPictures:
    """Keep the rated edits, in the order of their ids; a rater's last rating of an edit counts."""
    rated = {rating.edit_id for rating in ratings}
    kept = sorted((edit for edit in edits if edit.id in rated and edit.case_id in cases), key=lambda edit: edit.id)
    row = {edit.id: number for number, edit in enumerate(kept)}
    raters = {name: number for number, name in enumerate(sorted({rating.rater for rating in ratings}))}
    table = np.full((len(kept), max(1, len(raters))), np.nan)
    for rating in ratings:
        if rating.edit_id in row:
            table[row[rating.edit_id], raters[rating.rater]] = rating.score
    return RatedPictures(tuple(cases[edit.case_id] for edit in kept), tuple(kept), table)


def read_edited(cases: EditedCases, edits: Path | None) -> tuple[dict[str, Case], Iterator[Edit]]:
    """Read cases by id, and edits one by one; of a folder of `hpedit cases build` all edited cases, not only hard ones.

    Args:
        cases: Table of cases, or a folder that has some.
        edits: Parquet of edits of these cases; the edits of the build in `cases` if None.

    Raises:
        HPEditError: a file can't be read, or `edits` is None and `cases` has no edits.
    """
    found = iter_edits(edits) if edits is not None else cases.edits()
    return {case.id: case for case in cases.candidates()}, found


def read_pictures(cases: EditedCases, edits: Path | None, ratings: Path) -> RatedPictures:
    """Read rated edits from disk; ``ratings`` is a CSV or JSONL of edit_id, rater, score. See `read_edited`.

    Raises:
        HPEditError: the files have nothing in common, or one can't be read.
    """
    by_id, given = read_edited(cases, edits)
    people = read_ratings(ratings)
    rated = {rating.edit_id for rating in people}
    # Edits are large: only rated ones are held in memory.
    found = rated_pictures(by_id, [edit for edit in given if edit.id in rated], people)
    if not found.edits:
        raise HPEditError(
            f"{ratings} rates no edit of {edits or cases} whose case is in {cases}",
            hint="edit_id must be the id column of the edits, case_id the id of the cases",
        )
    return found


def answered_table(
    judges: Mapping[str, Judge],
    pictures: RatedPictures,
    questions: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> RatedTable:
    """Ask judges (by name) about rated edits and table the answers.

    ``questions`` has for each judge the questions to ask, by task; the whole library if None.
    """
    answers: list[JudgeAnswers] = []
    reasons: Counter[str] = Counter()
    for name, judge in judges.items():
        images = [edit.image for edit in pictures.edits]
        matrix = ask_features(judge, pictures.cases, images, None if questions is None else questions[name])
        answers.append(JudgeAnswers(name, FEATURES, matrix.features))
        reasons.update(f"{name}: {reason}" for reason in matrix.reasons if reason)
        if matrix.unreadable:
            reasons[f"{name}: questions without a readable answer"] += matrix.unreadable
    return RatedTable(
        edit_ids=tuple(edit.id for edit in pictures.edits),
        sources=tuple(case.source_id for case in pictures.cases),
        tasks=tuple(case.task for case in pictures.cases),
        ratings=pictures.ratings,
        judges=tuple(answers),
        unreadable=dict(sorted(reasons.items())),
        exclusive=EXCLUSIVE,
    )


def fit_judged(
    pictures: RatedPictures, judges: Mapping[str, Judge], out: Path, *, revision: str | None = None
) -> tuple[HPScorer, dict[str, Any]]:
    """Calibrate judges on rated edits and write the scorer's folder.

    Args:
        pictures: Rated by people, or by the mini world's simulated raters.
        judges: By the name that loads each again; see `judges.loading`.
        out: Folder for calibration.json and scorer.json.
        revision: Of judges that are hub models.

    Returns:
        The scorer, and `fit_tables.fit_report`.

    Raises:
        HPEditError: too few rated edits, or ratings that do not differ; ``out`` is a file.
    """
    if out.exists() and not out.is_dir():
        raise HPEditError(f"{out} is a file", hint="choose another folder for --out")
    table = answered_table(judges, pictures)
    calibration = fit_table(table)
    save_scorer(out, judges, calibration, revision)
    return HPScorer(judges, calibration), {**fit_report(calibration, table), "path": str(out)}


def load_judges(names: Sequence[str], revision: str | None = None, cache: Path | None = None) -> dict[str, Judge]:
    """Load judges by name; HPEditError if one is named twice or can't be loaded."""
    if len(set(names)) < len(names):
        raise HPEditError(f"a judge is named twice: {', '.join(names)}")
    return {name: load_judge(name, revision=revision, cache=cache) for name in names}


def measure_judged(
    pictures: RatedPictures,
    scorer: Path | None,
    judges: Sequence[str] = (),
    curve: Curve | None = None,
    *,
    allow_seen: bool = False,
    seed: int = 0,
    cache: Path | None = None,
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Measure a scorer, a learning curve, or both, on rated images; see `measure_tables`.

    A scorer's judges answer the questions it kept; those of a curve the whole library, since every fit selects its own.
    """
    names, _ = judges_of(scorer, judges, curve=curve is not None)
    loaded = HPScorer.load(scorer, cache=cache, every=True) if scorer else None
    found = grown = None
    if loaded:
        kept = {part.judge: part.kept_questions for part in loaded.calibration.parts}
        table = answered_table(loaded.judges, pictures, kept)
        found = evaluate_table(loaded.calibration, table, allow_seen=allow_seen, seed=seed)
    if curve:
        asked = loaded.judges if loaded and not judges else load_judges(names, cache=cache)
        table = answered_table(asked, pictures)
        grown = learning_curve(table, curve.numbers, draws=curve.draws, seed=seed, progress=curve.progress)
    return found, grown
