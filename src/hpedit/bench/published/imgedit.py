"""ImgEdit-Bench (arXiv 2505.20275): the basic suite of nine kinds of edits, and the harder suite UGE.

Layouts, from https://github.com/PKU-YuanGroup/ImgEdit (Benchmark/Basic/basic_bench_readme.md, basic_bench.py,
step1_get_avgscore.py, step2_typescore.py, Benchmark/UGE/UGE_edit.json, get_average_score.py):

- basic_edit.json (first called singleturn.json): {KEY: {"id": picture, "prompt", "edit_type"}}; pictures lie relative
  to a folder, by default the one of that file. UGE_edit.json is the same without edit_type.
- Results of a model: KEY.png.
- The judge's answers, result.json: {KEY: text}, where lines such as "Prompt Compliance: 4" hold the marks, 1 to 5, of
  three dimensions; or {KEY: {"error": ...}}.

Rule: a case is the mean of its marks, rounded to two decimals (step1); a kind is the mean of its cases, rounded
likewise (step2). That code ends there; published tables give as overall the mean of the nine kinds, and so do we, with
the mean over all cases, which lmms-eval prints, as a note. UGE is the mean of its cases (get_average_score.py). One
thing differs here: a case whose answer has not exactly three marks of 1 to 5 is unscorable; it is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench.published.published_benchmark import (
    Benchmark,
    PublishedCase,
    ScoreTable,
    case_mean_note,
    check_key,
    score_column,
    some_of,
)
from hpedit.cases.sources.columns import task_of
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.images import load_image
from hpedit.store.json_text import decode_json
from hpedit.store.paths import inside

TASK_OF_KIND: dict[str, str | None] = {
    "add": "addition",
    # Colour, material or shape: the instruction's words decide.
    "alter": None,
    "extract": None,
    "replace": "swap",
    "remove": "removal",
    "background": "background",
    "style": "style",
    "compose": None,
    "action": None,
}
"""The nine kinds, in the order of the published tables, and the task of each among the eight."""

KIND_NAMES = {"adjust": "alter", "hybrid": "compose"}
"""The paper's names of kinds -> their names in the data."""
BY_WORDS = {"alter": ("color",), "background": ("background", "bokeh")}
"""Kinds that mix tasks: the words of the instruction choose among these tasks."""
DESCRIPTIONS = ("basic_edit.json", "singleturn.json", "UGE_edit.json")
MARKS = 3
"""Dimensions that the judge marks."""
UGE = "UGE"


def read_imgedit_cases(data: Path, language: str = "en") -> Iterator[PublishedCase]:
    """The cases of a description, one picture in memory at a time.

    Args:
        data: basic_edit.json, singleturn.json or UGE_edit.json with the pictures beside it, or that folder.
        language: "en", the only one.

    Raises:
        HPEditError: No description, a broken one, a picture that is missing, damaged or outside the folder.
    """
    _only_english(language)
    file = _description(data)
    for key, item in _items(file).items():
        check_key(key, file)
        kind = str(item.get("edit_type") or UGE)
        prompt, name = str(item["prompt"]).strip(), str(item["id"])
        task = task_of_item(kind, prompt)
        if task is None:
            yield PublishedCase(kind, None, f"{key}.png")
            continue
        image = load_image(inside(file.parent, name, f"{file}, {key}"))
        case = Case(key, task, prompt, (image,), name, origin=f"ImgEdit-Bench, {kind}, {name}")
        yield PublishedCase(kind, case, f"{key}.png")


def task_of_item(kind: str, prompt: str) -> str | None:
    """Which of the eight tasks a case is; None if none."""
    kind = KIND_NAMES.get(kind, kind)
    if kind == UGE:
        return task_of("", prompt)
    by_words = task_of("", prompt)
    if by_words in BY_WORDS.get(kind, ()):
        return by_words
    return TASK_OF_KIND.get(kind)


def imgedit_score_tables(files: Sequence[Path], data: Path | None = None, language: str = "en") -> list[ScoreTable]:
    """One ImgEdit-Bench table for each result.json, named after its folder.

    Args:
        files: The judge's files, or the folders of results that hold a result.json.
        data: The description of the benchmark, which says the kind of each case.
        language: "en", the only one.

    Raises:
        HPEditError: Missing or broken files, or cases that the description lacks.
    """
    _only_english(language)
    if data is None:
        raise HPEditError("the kinds of ImgEdit's cases are needed", hint="name its basic_edit.json: --data")
    items = _items(_description(data))
    return [_table(file / "result.json" if file.is_dir() else file, items) for file in files]


def _table(file: Path, items: Mapping[str, Mapping[str, Any]]) -> ScoreTable:
    answers = _json(file)
    unknown = sorted(answers.keys() - items.keys())
    if unknown:
        raise HPEditError(f"{file}: the benchmark has no case {unknown[0]}", hint="is --data its description?")
    rows: list[tuple[str, str, float]] = []
    incomplete = 0
    for key, answer in answers.items():
        marks = marks_of(answer)
        if len(marks) != MARKS:
            incomplete += bool(marks)
            continue
        item = items[key]
        kind = str(item.get("edit_type") or UGE)
        # Rounded as step1 of their code rounds; it shows in the second decimal of a kind.
        rows.append((KIND_NAMES.get(kind, kind), str(item["id"]), round(sum(marks) / len(marks), 2)))
    if not rows:
        raise HPEditError(f"{file} has no answer with marks", hint="lines such as `Prompt Compliance: 4`")
    kinds = [UGE] if all(kind == UGE for kind, _, _ in rows) else list(TASK_OF_KIND)
    counts = {kind: sum(row[0] == kind for row in rows) for kind in kinds}
    notes = [] if kinds == [UGE] else [case_mean_note(rows)]
    if missing := len(items) - len(answers):
        notes.append(f"no answer on {missing} of {len(items)} cases: {some_of(items.keys() - answers.keys())}")
    if incomplete:
        notes.append(f"{incomplete} cases left out: other than {MARKS} marks")
    made = score_column("mean of marks", kinds, rows, digits=2)
    model = file.resolve().parent.name if file.name == "result.json" else file.stem
    part = "UGE" if kinds == [UGE] else "basic"
    return ScoreTable(model, part, (made,), counts, len(answers) - len(rows), tuple(notes))


def marks_of(answer: object) -> list[int]:
    """The marks in a judge's answer: whole numbers after `: ` at the end of a line; [] if it is unscorable.

    An error instead of text, no mark, or a mark outside 1 to 5 makes it so.
    """
    if not isinstance(answer, str):
        return []
    marks = []
    for line in answer.splitlines():
        parts = line.strip().split(": ")
        if len(parts) == 2 and parts[1].isdecimal():
            marks.append(int(parts[1]))
    return marks if all(1 <= mark <= 5 for mark in marks) else []


def _description(data: Path) -> Path:
    if data.is_file():
        return data
    for name in DESCRIPTIONS:
        if (data / name).is_file():
            return data / name
    raise HPEditError(f"{data} has no {', '.join(DESCRIPTIONS[:-1])} or {DESCRIPTIONS[-1]}", hint="name the file")


def _items(file: Path) -> dict[str, dict[str, Any]]:
    items: dict[str, dict[str, Any]] = _json(file)
    for key, item in items.items():
        if not isinstance(item, dict) or not item.get("id") or not item.get("prompt"):
            raise HPEditError(f"{file}: case {key} lacks id or prompt", hint="is it the description of ImgEdit-Bench?")
    return items


def _json(file: Path) -> dict[str, Any]:
    try:
        found = decode_json(file.read_bytes())
    except OSError as error:
        raise HPEditError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise HPEditError(f"{file} is not JSON: {error}", hint="download or write it again") from error
    if not isinstance(found, dict) or not found:
        raise HPEditError(f"{file} holds no cases", hint="it is an object with one entry a case")
    return found


def _only_english(language: str) -> None:
    if language != "en":
        raise HPEditError(f"ImgEdit-Bench has no language {language!r}", hint="it is English")


BENCHMARK = Benchmark("ImgEdit-Bench", read_imgedit_cases, imgedit_score_tables)
