"""Import published ratings (ImagenHub, MagicBrush, GenAI-Bench) and responses of rating tools into our tables.

- edits.csv: edit_id, source_id, editor, instruction, and task if known.
- ratings.csv: edit_id, rater, score (0 to 5), and the original marks by axis.
- scores.csv: edit_id, judge, and a column for each question (see `rubrics`); an empty cell is a missing answer,
  never 0.
- votes.csv: edit_a, edit_b, rater, vote (A, B, tie, both_bad); judge_votes.csv the same with judge instead of rater.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpedit.errors import HPEditError
from hpedit.ratings.import_export import import_responses
from hpedit.ratings.reading_rules import PLAIN_RULES, ReadingRules
from hpedit.ratings.responses import NO_VOTE, VOTES
from hpedit.scorer.tables.rubrics import RUBRICS, parse_answer
from hpedit.store.atomic import atomic_write
from hpedit.store.csv_rows import CsvRow, csv_text, index_csv_rows, read_csv_rows
from hpedit.tasks import TASK_IDS

_EDIT_COLUMNS = ("edit_id", "source_id", "editor", "instruction")
_MARKS = ("semantic_consistency", "perceptual_quality")
_AXES = ("alignment", "quality", "consistency")
_TASKS: Mapping[str, str] = MappingProxyType(
    {"Object Addition": "addition", "Object Removal": "removal", "Object Replacement": "swap", "Color Changes": "color"}
)
"""MagicBrush's categories that are tasks here; so is a scene change of the background."""


def import_ratings(form: str, src: Path, out: Path, rules: ReadingRules = PLAIN_RULES) -> dict[str, Any]:
    """Import ``src`` in one of `FORMATS`; HPEditError for another name.

    ``rules`` say how answers of another tool are read.
    """
    if form in ("csv", "jsonl", "labelstudio"):
        return import_responses(form, src, out, rules)
    if form not in FORMATS:
        raise HPEditError(f"unknown format {form}", hint=f"known formats: {', '.join(FORMATS)}")
    return FORMATS[form](src, out)


def import_imagenhub(src: Path, out: Path) -> dict[str, Any]:
    """Import ratings of ImagenHub (arXiv 2310.01596), with answers of judges to the prompts of VIEScore.

    A rater's score is ImagenHub's overall sqrt(semantic consistency * perceptual quality), times 5; both marks (0 to 1)
    are kept.

    Args:
        src: folder with edits.csv, human_ratings.csv and vlm_scores.csv.
        out: folder to write to, created if missing. The same input gives the same bytes.

    Returns:
        Counts: edits, sources, ratings, raters, judges, missing_answers.

    Raises:
        HPEditError: a file or column is missing, a mark is not in 0 to 1, a row is there twice or of an unknown edit.
    """
    _check_apart(src, out)
    edits = read_csv_rows(src / "edits.csv", _EDIT_COLUMNS)
    known = {edit for (edit,) in index_csv_rows(edits, ("edit_id",))}
    marks = read_csv_rows(src / "human_ratings.csv", ("edit_id", "rater", *_MARKS))
    answers = read_csv_rows(src / "vlm_scores.csv", ("edit_id", "judge", *RUBRICS["viescore"].required))
    for rows in (marks, answers):
        _check_known(rows, known)
    index_csv_rows(marks, ("edit_id", "rater"))
    index_csv_rows(answers, ("edit_id", "judge"))
    ratings = [(row, _overall(row)) for row in marks]
    given = [
        (row["edit_id"], row.name("rater"), repr(score), *(row[mark] for mark in _MARKS))
        for row, score in ratings
        if score is not None
    ]
    questions = RUBRICS["viescore"].required
    columns = ("edit_id", "judge", *questions)
    _write_tables(
        out,
        edits=(_EDIT_COLUMNS, [tuple(row[name] for name in _EDIT_COLUMNS) for row in edits]),
        ratings=(("edit_id", "rater", "score", *_MARKS), given),
        scores=(columns, [tuple(row[name] for name in columns) for row in answers]),
    )
    return {
        "edits": len(edits),
        "sources": len({row["source_id"] for row in edits}),
        "ratings": len(given),
        "raters": len({rating[1] for rating in given}),
        "judges": sorted({row["judge"] for row in answers}),
        "missing_answers": sum(_is_missing(row[name]) for row in answers for name in questions),
    }


def _overall(row: CsvRow) -> float | None:
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


def _check_known(rows: list[CsvRow], known: set[str]) -> None:
    for row in rows:
        if row["edit_id"] not in known:
            raise HPEditError(f"{row.where}: edit {row['edit_id']!r} is not in edits.csv")


def import_magicbrush(src: Path, out: Path) -> dict[str, Any]:
    """Import ratings of MagicBrush's edits (arXiv 2306.10012) on 0 to 10.

    A rater's score is the overall mark, halved; the marks by axis are kept. The photo is the source, so that the turns
    of one session stay together. A category that is none of the eight tasks keeps its own name.

    Args:
        src: folder with edits.csv and human_ratings.csv.
        out: folder to write to.

    Returns:
        Counts: edits, sources, ratings, raters, unrated, tasks, and other_tasks, those that are none of the eight.

    Raises:
        HPEditError: as `import_imagenhub`; a mark is not in 0 to 10.
    """
    _check_apart(src, out)
    needed = ("edit_id", "photo_id", "turn", "instruction", "category", "object_type", "source_file", "edited_file")
    edits = read_csv_rows(src / "edits.csv", needed)
    known = {edit for (edit,) in index_csv_rows(edits, ("edit_id",))}
    marks = read_csv_rows(src / "human_ratings.csv", ("edit_id", "rater", *_AXES, "overall"))
    _check_known(marks, known)
    index_csv_rows(marks, ("edit_id", "rater"))
    given = _halved(marks)
    tasks = [_magicbrush_task(row) for row in edits]
    header = (*_EDIT_COLUMNS, "task", "turn", "source_file", "edited_file")
    table = [
        (row["edit_id"], row["photo_id"], "DALL-E 2", row["instruction"], task, *(row[name] for name in header[5:]))
        for row, task in zip(edits, tasks, strict=True)
    ]
    _write_tables(out, edits=(header, table), ratings=(("edit_id", "rater", "score", *_AXES), given))
    counts = Counter(tasks)
    return {
        "edits": len(edits),
        "sources": len({row["photo_id"] for row in edits}),
        "ratings": len(given),
        "raters": len({rating[1] for rating in given}),
        "unrated": len(known - {rating[0] for rating in given}),
        "tasks": {task: counts[task] for task in TASK_IDS if counts[task]},
        "other_tasks": {task: count for task, count in sorted(counts.items()) if task not in TASK_IDS},
    }


def import_genai(src: Path, out: Path) -> dict[str, Any]:
    """Import votes on image edits of GenAI-Bench (arXiv 2406.04485): one person's vote a pair, and judges' votes.

    An empty cell is a judge that was not asked; unreadable answers are kept as such. A pair's edits are named by its
    id; pairs of one caption belong to one source.

    Args:
        src: folder with votes.csv.
        out: folder to write to.

    Returns:
        Counts: pairs, sources, votes (of people, by vote), judges, and by judge unreadable, not_asked.

    Raises:
        HPEditError: a file or column is missing, a vote is none of the four, or a pair is there twice.
    """
    _check_apart(src, out)
    needed = ("pair_id", "instruction", "source_caption", "human")
    rows = read_csv_rows(src / "votes.csv", needed)
    index_csv_rows(rows, ("pair_id",))
    judges = [name for name in (rows[0].cells if rows else ()) if name not in needed]
    edits, people, votes = [], [], []
    for row in rows:
        pair = [f"{row['pair_id']}-{side}" for side in "AB"]
        edits += [(edit, row.name("source_caption"), "", row["instruction"]) for edit in pair]
        people.append((*pair, "human", _vote(row, "human")))
        votes += [(*pair, judge, row[judge] if row[judge] in NO_VOTE else _vote(row, judge)) for judge in judges]
    pairs = ("edit_a", "edit_b")
    _write_tables(
        out,
        edits=(_EDIT_COLUMNS, edits),
        votes=((*pairs, "rater", "vote"), people),
        judge_votes=((*pairs, "judge", "vote"), votes),
    )
    return {
        "pairs": len(rows),
        "sources": len({row["source_caption"] for row in rows}),
        "votes": dict(Counter(vote for *_, vote in people)),
        "judges": sorted(judges),
        "unreadable": _count(rows, judges, "unreadable"),
        "not_asked": _count(rows, judges, ""),
    }


def _halved(marks: list[CsvRow]) -> list[tuple[str, ...]]:
    """Rows of ratings.csv from marks on 0 to 10; a row without an overall mark is left out."""
    return [
        (row["edit_id"], row.name("rater"), repr(_mark(row, "overall") / 2), *(row[axis] for axis in _AXES))
        for row in marks
        if row["overall"] and all(math.isfinite(_mark(row, axis)) for axis in _AXES if row[axis])
    ]


def _magicbrush_task(row: CsvRow) -> str:
    category = row.name("category")
    if category == "Scene Changes" and row["object_type"] == "Background/Scene":
        return "background"
    return _TASKS.get(category) or category.lower().replace(" ", "_")


def _mark(row: CsvRow, name: str) -> float:
    value, problem = parse_answer(row[name], (0.0, 10.0))
    if problem:
        raise HPEditError(f"{row.where}: {name} is {row[name]!r}: {problem}", hint="MagicBrush's marks are 0 to 10")
    return value


def _vote(row: CsvRow, column: str) -> str:
    if row[column] not in VOTES:
        raise HPEditError(f"{row.where}: {column} is {row[column]!r}", hint=f"a vote is one of {', '.join(VOTES)}")
    return row[column]


def _count(rows: list[CsvRow], judges: list[str], cell: str) -> dict[str, int]:
    counts = {judge: sum(row[judge] == cell for row in rows) for judge in sorted(judges)}
    return {judge: count for judge, count in counts.items() if count}


def _write_tables(out: Path, **tables: tuple[Sequence[str], Sequence[Sequence[str]]]) -> None:
    """Write each table (header, rows) to ``out``/NAME.csv."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables.items():
        atomic_write(out / f"{name}.csv", csv_text(header, rows))


def _check_apart(src: Path, out: Path) -> None:
    if src.resolve() == out.resolve():
        raise HPEditError(f"{out} holds the input", hint="choose another folder for --out")


FORMATS: Mapping[str, Callable[[Path, Path], dict[str, Any]]] = MappingProxyType(
    {
        "imagenhub": import_imagenhub,
        "magicbrush": import_magicbrush,
        "genai": import_genai,
        "csv": partial(import_responses, "csv"),
        "jsonl": partial(import_responses, "jsonl"),
        "labelstudio": partial(import_responses, "labelstudio"),
    }
)
