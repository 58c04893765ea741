"""Bring other people's rating tables into ours: edits.csv, ratings.csv and scores.csv.

- edits.csv: edit_id, source_id, editor, instruction, and task if known.
- ratings.csv: edit_id, rater, score (0 to 5).
- scores.csv: edit_id, judge, and a column for each question (see `judges`); an empty cell is an answer that could not
  be had, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpedit.errors import HPEditError
from hpedit.scorer.csv_rows import Row, index_rows, read_rows, write_rows
from hpedit.scorer.judges import RUBRICS, parse_answer
from hpedit.store.atomic import atomic_write

_EDIT_COLUMNS = ("edit_id", "source_id", "editor", "instruction")
_MARKS = ("semantic_consistency", "perceptual_quality")


def import_ratings(form: str, src: Path, out: Path) -> dict[str, Any]:
    """Import ``src`` in one of `FORMATS`; HPEditError for another name."""
    if form not in FORMATS:
        raise HPEditError(f"unknown format {form}", hint=f"known formats: {', '.join(FORMATS)}")
    return FORMATS[form](src, out)


def import_imagenhub(src: Path, out: Path) -> dict[str, Any]:
    """Import ratings of ImagenHub (arXiv 2310.01596), with answers of judges to the prompts of VIEScore.

    A rater's score is ImagenHub's overall sqrt(semantic consistency * perceptual quality), times 5.

    Args:
        src: folder with edits.csv, human_ratings.csv and vlm_scores.csv.
        out: folder to write to; made if need be. The same input gives the same bytes.

    Returns:
        Counts: edits, sources, ratings, raters, judges, missing_answers.

    Raises:
        HPEditError: a file or column is missing, a mark is not in 0 to 1, a row is there twice or of an unknown edit.
    """
    if src.resolve() == out.resolve():
        raise HPEditError(f"{out} holds the input", hint="choose another folder for --out")
    edits = read_rows(src / "edits.csv", _EDIT_COLUMNS)
    known = {edit for (edit,) in index_rows(edits, ("edit_id",))}
    marks = read_rows(src / "human_ratings.csv", ("edit_id", "rater", *_MARKS))
    answers = read_rows(src / "vlm_scores.csv", ("edit_id", "judge", *RUBRICS["viescore"].required))
    for rows in (marks, answers):
        _check_known(rows, known)
    index_rows(marks, ("edit_id", "rater"))
    index_rows(answers, ("edit_id", "judge"))
    ratings = [(row["edit_id"], row.name("rater"), _overall(row)) for row in marks]
    given = [(edit, rater, repr(score)) for edit, rater, score in ratings if score is not None]
    questions = RUBRICS["viescore"].required
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(
        out / "edits.csv", write_rows(_EDIT_COLUMNS, [tuple(row[name] for name in _EDIT_COLUMNS) for row in edits])
    )
    atomic_write(out / "ratings.csv", write_rows(("edit_id", "rater", "score"), given))
    columns = ("edit_id", "judge", *questions)
    atomic_write(out / "scores.csv", write_rows(columns, [tuple(row[name] for name in columns) for row in answers]))
    return {
        "edits": len(edits),
        "sources": len({row["source_id"] for row in edits}),
        "ratings": len(given),
        "raters": len({rater for _, rater, _ in given}),
        "judges": sorted({row["judge"] for row in answers}),
        "missing_answers": sum(_is_missing(row[name]) for row in answers for name in questions),
    }


def _overall(row: Row) -> float | None:
    """5 sqrt(sc * pq) of one rater; None where a mark is missing."""
    texts = [row[name] for name in _MARKS]
    if not all(texts):
        return None
    marks = [parse_answer(text, (0.0, 1.0)) for text in texts]
    for name, text, (_, problem) in zip(_MARKS, texts, marks, strict=True):
        if problem:
            raise HPEditError(f"{row.where}: {name} is {text!r}: {problem}", hint="ImagenHub's marks are 0, 0.5 and 1")
    return 5.0 * math.sqrt(marks[0][0] * marks[1][0])


def _is_missing(text: str) -> bool:
    return math.isnan(parse_answer(text, (0.0, 10.0))[0])


def _check_known(rows: list[Row], known: set[str]) -> None:
    for row in rows:
        if row["edit_id"] not in known:
            raise HPEditError(f"{row.where}: edit {row['edit_id']!r} is not in edits.csv")


FORMATS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = MappingProxyType({"imagenhub": import_imagenhub})
