"""Items to rate, read from a folder or table of edits (or of cases to check): single edits, pairs of edits, cases.

Everything is opened, decoded and checked when the server starts: a path that leaves its folder, a URL, a damaged or
oversized image is an error with file and line. During a request no path is formed from anything a client sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from hpedit.cases.folder import CasesFolder
from hpedit.cases.sources.instruction_table import task_of
from hpedit.errors import HPEditError
from hpedit.rate.image_cache import ImageCache, fit_to_size, item_size
from hpedit.ratings.store import RatingKind, RatingPhase, Value
from hpedit.store.csv_rows import CsvRow, read_csv_rows
from hpedit.store.images import load_image
from hpedit.store.parquet import check_parquet
from hpedit.store.paths import inside
from hpedit.store.tables import iter_edits

if TYPE_CHECKING:
    from hpedit.records import Case

CSV_COLUMNS = ("edit_id", "instruction", "source_file", "edited_file")
"""Required in a CSV of edits; task or category, case_id, photo_id or source_id, and editor are also read."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class RatedImage:
    """One edit ready to be shown, or a case without an edit; images are keys of the `ImageCache`."""

    edit_id: str
    """Of a case without an edit, the case's id."""
    case_id: str
    source_id: str
    task: str | None
    instruction: str
    editor: str
    """Never leaves the server."""
    source: str
    references: tuple[str, ...]
    """Further source images of a case that has several."""
    picture: str
    """The edit; "" for a case that is checked before any edit exists."""
    size: tuple[int, int]
    """Width and height of source and edit as shown."""


@dataclass(frozen=True, slots=True)
class RatedItem:
    """One decision of a rater: an edit to score, two edits of one case to compare, or a case to check."""

    id: str
    kind: RatingKind
    phase: RatingPhase
    """"practice", "gold" or "rate"."""
    edits: tuple[RatedImage, ...]
    """One, or two in a fixed order (sides are drawn per rater, see `assignment`); for a check the case itself."""
    expected: Value | None = None
    """The known answer, for the edits in this order."""
    text: str = field(default="", compare=False)
    """Why that is the answer, for practice."""

    @property
    def first(self) -> RatedImage:
        """The edit that stands for what both share: case, task, instruction, source."""
        return self.edits[0]

    @property
    def content(self) -> str:
        """Hash of all that a rater sees: answers about other images under the same id must not mix."""
        seen = [[edit.source, *edit.references, edit.picture, edit.instruction] for edit in self.edits]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def description(self) -> str:
        """The item's metadata for export, as JSON."""
        shared = {name: getattr(self.first, name) for name in ("case_id", "source_id", "task", "instruction")}
        edit_ids, editors = [edit.edit_id for edit in self.edits], [edit.editor for edit in self.edits]
        return json.dumps({"edit_ids": edit_ids, **shared, "editors": editors}, ensure_ascii=False)


def load_rated_images(
    edits: Path | str, cache: ImageCache, cases: Path | str | None = None, advance: Advance | None = None
) -> list[RatedImage]:
    """Read all edits to rate and put their images into the cache.

    Args:
        edits: a run's folder (`hpedit cases build`, `hpedit bench`, cases.parquet with edits.parquet), a table of
            edits (parquet), or a CSV of edits (CSV_COLUMNS) or the folder that holds it.
        cache: takes the images; the caller seals it.
        cases: cases of the edits, if `edits` does not hold them.
        advance: called with 1 for every edit read.

    Raises:
        HPEditError: there are no edits, or any of them is invalid.
    """
    path = Path(edits)
    table = _csv_table(path)
    rated_images: dict[str, RatedImage] = {}
    for rated in _images_from_csv(table, cache) if table else _images_from_parquet(path, cases, cache):
        if rated.edit_id in rated_images:
            raise HPEditError(f"{path}: edit {rated.edit_id} appears twice", hint="ids must be unique")
        rated_images[rated.edit_id] = rated
        if advance is not None:
            advance(1)
    if not rated_images:
        raise HPEditError(f"{path} holds no edits")
    return list(rated_images.values())


def load_cases_to_check(cases: Path | str, cache: ImageCache, advance: Advance | None = None) -> list[RatedImage]:
    """Read the cases to check from a table or folder and put their sources into the cache.

    Raises:
        HPEditError: no such file, no case in it, or a damaged image.
    """
    rated_images = []
    for case in CasesFolder(cases).kept():
        rated_images.append(_image_of_case(case, cache))
        if advance is not None:
            advance(1)
    if not rated_images:
        raise HPEditError(f"{cases} holds no cases")
    return rated_images


def count_edits(edits: Path | str) -> int:
    """Approximate number of edits that `load_rated_images` will read, for its progress bar."""
    path = Path(edits)
    table = _csv_table(path)
    if table is not None:
        return max(0, table.read_bytes().count(b"\n") - 1)
    return sum(len(_case_ids(table)) for table in _edit_tables(path))


def count_cases(cases: Path | str) -> int:
    """Number of cases that `load_cases_to_check` will read, for its progress bar; HPEditError if it is not a table."""
    try:
        return int(pq.read_metadata(cases).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise HPEditError(
            f"{cases} is not a table of cases: {error}", hint="make one by `hpedit bench build`"
        ) from error


def score_items(rated_images: Iterable[RatedImage]) -> list[RatedItem]:
    """One item per edit, to be scored."""
    return [RatedItem(rated.edit_id, "score", "rate", (rated,)) for rated in rated_images]


def check_items(rated_images: Iterable[RatedImage]) -> list[RatedItem]:
    """One item per case, to be checked."""
    return [RatedItem(rated.case_id, "check", "rate", (rated,)) for rated in rated_images]


def compare_items(rated_images: Sequence[RatedImage]) -> list[RatedItem]:
    """One item for every two edits of a case that differ in at least one pixel, to be compared.

    Raises:
        HPEditError: no case has two such edits, or the edits of a case differ in source or instruction.
    """
    groups: dict[str, list[RatedImage]] = {}
    for rated in rated_images:
        group = groups.setdefault(rated.case_id, [])
        group.append(rated)
        for what in ("source", "instruction"):
            if getattr(rated, what) != getattr(group[0], what):
                raise HPEditError(
                    f"edits {group[0].edit_id} and {rated.edit_id} of case {rated.case_id} differ in {what}: "
                    "they can't be compared",
                    hint="give each instruction on each photo its own case_id, or leave the column out",
                )
    pairs = [pair for group in groups.values() for pair in combinations(group, 2) if pair[0].picture != pair[1].picture]
    if not pairs:
        raise HPEditError("no case has two different edits to compare", hint="score them: --mode score")
    return [RatedItem(pair_id(*(edit.edit_id for edit in pair)), "compare", "rate", pair) for pair in pairs]


def pair_id(one: str, other: str) -> str:
    """Id of the item that compares two edits, in either order."""
    return json.dumps(sorted((one, other)), ensure_ascii=False)


def _csv_table(path: Path) -> Path | None:
    """The CSV of edits that `path` is or holds (edits.csv, or the only one with the columns); None if there is none."""
    if not path.exists():
        raise HPEditError(f"{path} does not exist", hint="give a folder or a table of edits")
    if path.is_file():
        return path if path.suffix.lower() == ".csv" else None
    if (path / "edits.csv").is_file():
        return path / "edits.csv"
    if any(path.glob("*.parquet")):
        return None
    found = [file for file in sorted(path.glob("*.csv")) if _has_columns(file)]
    if len(found) > 1:
        raise HPEditError(f"{path} has several tables of edits: {found[0].name}, {found[1].name}", hint="name one")
    return found[0] if found else None


def _has_columns(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        header = text.readline(10_000).strip().split(",")
    return set(CSV_COLUMNS) <= {name.strip().strip('"') for name in header}


def _images_from_csv(table: Path, cache: ImageCache) -> Iterator[RatedImage]:
    named: dict[tuple[str, str], str] = {}
    for row in read_csv_rows(table, CSV_COLUMNS):
        edit_id, instruction, source_file = row.name("edit_id"), row.name("instruction"), row.name("source_file")
        source = load_image(inside(table.parent, source_file, row.where))
        size = item_size(source)
        edited = load_image(inside(table.parent, row.name("edited_file"), row.where))
        task = _first_cell(row, "task", "category")
        yield RatedImage(
            edit_id=edit_id,
            # Edits of one photo with one instruction are edits of one case, named after the first of them.
            case_id=_first_cell(row, "case_id") or named.setdefault((source_file, instruction), edit_id),
            source_id=_first_cell(row, "source_id", "photo_id") or source_file,
            task=task_of(task, instruction) if task else None,
            instruction=instruction,
            editor=_first_cell(row, "editor", "model"),
            source=cache.add(fit_to_size(source, size)),
            references=(),
            picture=cache.add(fit_to_size(edited, size)),
            size=size,
        )


def _first_cell(row: CsvRow, *columns: str) -> str:
    """The first of these cells that exists and is not empty, or ""."""
    return next((row.cells[name] for name in columns if row.cells.get(name)), "")


def _images_from_parquet(path: Path, cases: Path | str | None, cache: ImageCache) -> Iterator[RatedImage]:
    tables = _edit_tables(path)
    wanted = {name for table in tables for name in _case_ids(table)}
    candidates = _cases_of(path) if cases is None else CasesFolder(cases).candidates()
    found = {case.id: _image_of_case(case, cache) for case in candidates if case.id in wanted}
    for table in tables:
        for edit in iter_edits(table):
            if edit.case_id not in found:
                raise HPEditError(f"{table}: edit {edit.id} belongs to an unknown case, {edit.case_id}")
            shown = found[edit.case_id]
            picture = cache.add(fit_to_size(edit.image, shown.size))
            yield replace(shown, edit_id=edit.id, editor=edit.editor, picture=picture)


def _image_of_case(case: Case, cache: ImageCache) -> RatedImage:
    """A case without an edit; its source and references are put into the cache."""
    size = item_size(case.source)
    references = tuple(cache.add(fit_to_size(image, item_size(image))) for image in case.sources[1:])
    return RatedImage(
        edit_id=case.id,
        case_id=case.id,
        source_id=case.source_id,
        task=case.task or None,
        instruction=case.instruction,
        editor="",
        source=cache.add(fit_to_size(case.source, size)),
        references=references,
        picture="",
        size=size,
    )


def _edit_tables(path: Path) -> list[Path]:
    """The tables of edits of a run: `path` itself, in that folder, or one per model in folders below it."""
    if path.is_file():
        return [path]
    if CasesFolder(path).built:
        return CasesFolder(path).edit_files()
    tables = sorted([*path.glob("edits.parquet"), *path.glob("*/edits.parquet")])
    if not tables:
        raise HPEditError(
            f"{path} holds no edits", hint=f"it needs edits.parquet, or a CSV with {', '.join(CSV_COLUMNS)}"
        )
    return tables


def _cases_of(path: Path) -> Iterator[Case]:
    """The cases of the edits in `path`: all that a build edited, or cases.parquet there or in the folder above."""
    folder = path if path.is_dir() else path.parent
    for place in (folder, folder.parent):
        if CasesFolder(place).built or (place / "cases.parquet").is_file():
            return CasesFolder(place).candidates()
    raise HPEditError(f"{folder} holds no cases for its edits", hint="name them: --cases cases.parquet")


def _case_ids(table: Path) -> list[str]:
    """The case of every edit of a table, read without its images."""
    try:
        check_parquet(table)
        return [str(name) for name in pq.read_table(table, columns=["case_id"]).column("case_id").to_pylist()]
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise HPEditError(f"{table} is not a table of edits: {error}", hint="give edits.parquet") from error
