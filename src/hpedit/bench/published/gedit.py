"""GEdit-Bench (Step1X-Edit, arXiv 2504.17761): 606 photographs with an instruction, each in English and Chinese.

Layouts, from https://github.com/stepfun-ai/Step1X-Edit (GEdit-Bench/EVAL.md, generate_image_example.py,
test_gedit_score.py, run_gedit_score.py, calculate_statistics.py):

- The data set stepfun-ai/GEdit-Bench is parquet with task_type, key, instruction, instruction_language ("en", "cn"),
  input_image, input_image_raw and Intersection_exist. `input_image` is what its judge is shown as the source, so it is
  our case's source.
- Results of a model: fullset/TASK_TYPE/LANGUAGE/KEY.png, with KEY_SRCIMG.png beside it.
- Scores: MODEL_TASKTYPE_gpt_score.csv (older) or MODEL_TASKTYPE_LANGUAGE_vie_score.csv, one row a case, with
  sementics_score (so spelt) and quality_score, 0 to 10, intersection_exist, instruction_language, and key or
  source_image.

Rule (calculate_statistics.py): a case's overall is sqrt(SC x PQ), after VIEScore (arXiv 2312.14867); SC, PQ and overall
are averaged within each of the eleven groups, and the groups' means once more, unweighted. "Intersection" is the same
over the cases with intersection_exist, those that every compared model answered. One thing differs here: a score that
is missing or not a number from 0 to 10 is left out and counted; that code fails or averages NaN.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpedit.bench.published.published_benchmark import (
    Benchmark,
    PublishedCase,
    ScoreColumn,
    ScoreTable,
    case_mean_note,
    check_key,
    score_column,
    some_of,
)
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.csv_rows import CsvRow, is_number, read_csv_rows
from hpedit.store.tables import decode_cell

TASK_OF_GROUP: dict[str, str | None] = {
    "background_change": "background",
    "color_alter": "color",
    "material_alter": None,
    "motion_change": None,
    "ps_human": None,
    "style_change": "style",
    "subject-add": "addition",
    "subject-remove": "removal",
    "subject-replace": "swap",
    "text_change": None,
    # Light, weather and season of the whole picture.
    "tone_transfer": "relighting",
}
"""The eleven groups, and the task of each among the eight; None: no such task."""

MAX_SCORE = 10.0
COLUMNS = ("SC", "PQ", "O")
"""Semantic consistency, perceptual quality, overall: as the published tables call them."""
_FILE = re.compile(rf"(?P<model>.+)_(?P<group>{'|'.join(TASK_OF_GROUP)})_(?:gpt|(?:en|cn|all)_vie)_score\.csv")
_NEEDED = ("task_type", "key", "instruction", "instruction_language")
_LANGUAGES = {"en": ("en",), "cn": ("cn", "zh"), "zh": ("cn", "zh")}


@dataclass(frozen=True, slots=True)
class GEditScore:
    """One row of a GEdit-Bench score file."""

    group: str
    key: str
    semantics: float | None
    quality: float | None
    """0 to 10; None if the judge gave none."""
    intersection: bool

    @property
    def overall(self) -> float | None:
        """sqrt(SC x PQ); None unless both are there."""
        if self.semantics is None or self.quality is None:
            return None
        return math.sqrt(self.semantics * self.quality)


def read_gedit_cases(data: Path, language: str = "en") -> Iterator[PublishedCase]:
    """The cases of one language, one batch of pictures in memory at a time.

    Args:
        data: A parquet file of the data set, or a folder with such files at any depth.
        language: "en" or "cn".

    Raises:
        HPEditError: No parquet, other columns, a picture that is not embedded or damaged, another language.
    """
    names = _languages(language)
    files = [data] if data.is_file() else sorted(data.rglob("[!.]*.parquet"))
    if not files:
        raise HPEditError(
            f"{data} holds no parquet", hint="hf download stepfun-ai/GEdit-Bench --repo-type dataset --local-dir DIR"
        )
    for file in files:
        for row in _rows(file):
            if row["instruction_language"] in names:
                yield _read(row, file)


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with pq.ParquetFile(file) as table:
            there = table.schema_arrow.names
            missing = [name for name in _NEEDED if name not in there]
            picture = next((name for name in ("input_image", "input_image_raw") if name in there), None)
            if missing or picture is None:
                lacks = ", ".join(missing) or "input_image"
                raise HPEditError(f"{file} lacks the columns {lacks}", hint="is it GEdit-Bench?")
            for batch in table.iter_batches(batch_size=16, columns=[*_NEEDED, picture]):
                for row in batch.to_pylist():
                    yield {**row, "picture": row[picture]}
    except (pa.ArrowInvalid, OSError) as error:
        raise HPEditError(f"{file} is not a readable parquet file: {error}", hint="download it again") from error


def _read(row: Mapping[str, Any], file: Path) -> PublishedCase:
    group, key, language = row["task_type"], check_key(str(row["key"]), file), row["instruction_language"]
    if group not in TASK_OF_GROUP:
        raise HPEditError(f"{file}: {key} has task_type {group!r}", hint=f"one of {', '.join(TASK_OF_GROUP)}")
    edit = f"fullset/{group}/{language}/{key}.png"
    task = TASK_OF_GROUP[group]
    if task is None:
        return PublishedCase(group, None, edit)
    image = decode_cell(row["picture"], f"input image of {key}")
    # Both languages ask for edits of one photograph.
    source_id = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:16]
    case = Case(f"{key}-{language}", task, row["instruction"], (image,), source_id, origin=f"GEdit-Bench, {group}")
    return PublishedCase(group, case, edit)


def read_gedit_scores(file: Path, group: str, languages: Sequence[str]) -> list[GEditScore]:
    """The rows of one GEdit score file in these languages; HPEditError for other columns, or a duplicate case."""
    rows = []
    seen: set[str] = set()
    for row in read_csv_rows(file, ("sementics_score", "quality_score", "instruction_language")):
        if row["instruction_language"] not in languages:
            continue
        key = _key(row)
        if key in seen:
            raise HPEditError(f"{row.where}: {key} appears twice", hint="each case has one score")
        seen.add(key)
        intersection = row.cells.get("intersection_exist", "").lower() in ("true", "1", "1.0")
        rows.append(GEditScore(group, key, _score(row, "sementics_score"), _score(row, "quality_score"), intersection))
    return rows


def _key(row: CsvRow) -> str:
    """The case's key: its column, or the name of the source's file."""
    if row.cells.get("key"):
        return row["key"]
    source = row.cells.get("source_image") or row.cells.get("edited_image") or ""
    if not source:
        raise HPEditError(f"{row.where}: no key and no source_image", hint="one of them names the case")
    name = source.replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"\.(png|jpe?g|webp|bmp)$", "", name, flags=re.IGNORECASE).removesuffix("_SRCIMG")


def _score(row: CsvRow, name: str) -> float | None:
    text = row[name]
    if not is_number(text):
        return None
    value = float(text)
    return value if 0.0 <= value <= MAX_SCORE else None


def gedit_score_tables(files: Sequence[Path], data: Path | None = None, language: str = "en") -> list[ScoreTable]:
    """GEdit-Bench tables of every model among the score files: all cases, and the intersection.

    Args:
        files: Score files, or folders of them.
        data: The benchmark, whose cases each model should have; None = those that some model has.
        language: "en" or "cn".

    Raises:
        HPEditError: No score file, or a group of a model in two files.
    """
    names = _languages(language)
    models: dict[str, dict[str, Path]] = {}
    for file in _score_files(files):
        found = _FILE.fullmatch(file.name)
        if found is None:
            raise HPEditError(
                f"{file.name} is not a score file of GEdit-Bench", hint="MODEL_GROUP_en_vie_score.csv or _gpt_score.csv"
            )
        groups = models.setdefault(found["model"], {})
        if found["group"] in groups:
            raise HPEditError(
                f"{file} and {groups[found['group']]} are both {found['group']} of {found['model']}",
                hint="give one of them; --language chooses within a file of all languages",
            )
        groups[found["group"]] = file
    tables = []
    read = {
        model: [row for group, file in sorted(groups.items()) for row in read_gedit_scores(file, group, names)]
        for model, groups in sorted(models.items())
    }
    cases = {(row.group, row.key) for rows in read.values() for row in rows}
    if data is not None:
        cases |= _cases_of(data, names)
    for model, rows in read.items():
        if not rows:
            raise HPEditError(f"the score files of {model} have no row in {language}", hint="choose another --language")
        tables += [_table(model, f"{language}, all cases", rows, cases - {(row.group, row.key) for row in rows})]
        if any(row.intersection for row in rows):
            tables += [_table(model, f"{language}, intersection", [row for row in rows if row.intersection])]
    return tables


def _score_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise HPEditError(f"{path} does not exist")
        # The combined file repeats what the groups' files say.
        found = sorted(file for file in path.rglob("*_score.csv") if _FILE.fullmatch(file.name))
        if path.is_dir() and not found:
            raise HPEditError(f"{path} holds no score file of GEdit-Bench", hint="MODEL_GROUP_en_vie_score.csv")
        files += found if path.is_dir() else [path]
    return files


def _cases_of(data: Path, languages: Sequence[str]) -> set[tuple[str, str]]:
    """Group and key of the benchmark's cases in these languages."""
    files = [data] if data.is_file() else sorted(data.rglob("[!.]*.parquet"))
    rows = (row for file in files for row in _rows(file))
    return {(row["task_type"], str(row["key"])) for row in rows if row["instruction_language"] in languages}


def _table(model: str, part: str, rows: Sequence[GEditScore], missing: Collection[tuple[str, str]] = ()) -> ScoreTable:
    """The table of one model; `missing` are cases without a row in its files."""
    scored = [row for row in rows if row.overall is not None]
    values = {"SC": [row.semantics for row in scored], "PQ": [row.quality for row in scored],
              "O": [row.overall for row in scored]}  # fmt: skip
    groups = list(TASK_OF_GROUP)

    def made(name: str) -> ScoreColumn:
        pairs = zip(scored, values[name], strict=True)
        return score_column(name, groups, [(row.group, row.key, value) for row, value in pairs if value is not None])

    counts = {group: sum(row.group == group for row in scored) for group in groups}
    empty = [group for group in groups if not counts[group]]
    overalls = [(row.group, row.key, row.overall) for row in scored if row.overall is not None]
    notes = [f"O {case_mean_note(overalls)}"] if overalls else []
    notes += [f"no score in {', '.join(empty)}: no overall"] if empty else []
    if missing:
        keys = some_of([key for _, key in missing])
        notes.append(f"no row for {len(missing)} of {len(rows) + len(missing)} cases: {keys}")
    return ScoreTable(model, part, tuple(map(made, COLUMNS)), counts, len(rows) - len(scored), tuple(notes))


def _languages(language: str) -> tuple[str, ...]:
    if language not in _LANGUAGES:
        raise HPEditError(f"GEdit-Bench has no language {language!r}", hint="en or cn")
    return _LANGUAGES[language]


BENCHMARK = Benchmark("GEdit-Bench", read_gedit_cases, gedit_score_tables)
