"""What is rated: edits with their cases, read from the layouts in which they come, and the items made of them.

Everything is opened, decoded and checked when the server starts. A path that leaves its folder, a URL, a damaged or
oversized picture is refused there with file and line; at request time no path is formed from what a client sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases.folder import CasesFolder
from hpedit.cases.sources.instruction_table import task_of
from hpedit.errors import HPEditError
from hpedit.rate.pictures import PictureShelf, fit, item_size
from hpedit.ratings.store import Kind, Phase, Value
from hpedit.store.csv_rows import Row, read_rows
from hpedit.store.images import load_image
from hpedit.store.paths import inside
from hpedit.store.tables import iter_edits

if TYPE_CHECKING:
    from hpedit.records import Case

CSV_COLUMNS = ("edit_id", "instruction", "source_file", "edited_file")
"""A table of edits has at least these; task or category, case_id, photo_id or source_id, and editor are also read."""

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One edit, ready to be shown, or a case without an edit; pictures are keys of the shelf."""

    edit_id: str
    case_id: str
    source_id: str
    task: str | None
    instruction: str
    editor: str
    """Never leaves the server."""
    source: str
    references: tuple[str, ...]
    """Further source pictures of a case that has several."""
    picture: str
    """The edit; "" where a case is checked before anything edits it."""
    size: tuple[int, int]
    """Width and height of source and edit as shown."""


@dataclass(frozen=True, slots=True)
class Item:
    """One decision: an edit to score, two edits of one case to choose between, or a case to check."""

    id: str
    kind: Kind
    phase: Phase
    """"practice", "gold" or "rate"."""
    edits: tuple[Exhibit, ...]
    """One, or two in a fixed order; the rater's sides are the assignment's business. The case itself for a check."""
    expected: Value | None = None
    """The known answer, for the edits in this order."""
    text: str = field(default="", compare=False)
    """Why that is the answer, for practice."""

    @property
    def first(self) -> Exhibit:
        """The edit that stands for what both share: case, task, instruction, source."""
        return self.edits[0]

    @property
    def content(self) -> str:
        """Hash of all that a rater sees: answers to other pictures under the same id must not mix."""
        seen = [[edit.source, *edit.references, edit.picture, edit.instruction] for edit in self.edits]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def description(self) -> str:
        """What export needs to know of it, as JSON."""
        return json.dumps(
            {
                "edit_ids": [edit.edit_id for edit in self.edits],
                "case_id": self.first.case_id,
                "source_id": self.first.source_id,
                "task": self.first.task,
                "instruction": self.first.instruction,
                "editors": [edit.editor for edit in self.edits],
            },
            ensure_ascii=False,
        )


def load_exhibits(
    edits: Path | str, shelf: PictureShelf, cases: Path | str | None = None, advance: Advance | None = None
) -> list[Exhibit]:
    """Read all edits and put their pictures on the shelf.

    Args:
        edits: A folder of a run (`hpedit cases build`, `hpedit bench`, cases.parquet with edits.parquet), a table of
            edits (parquet), or a folder with a CSV table of edits (CSV_COLUMNS), or that table.
        shelf: Where the pictures go; the caller seals it.
        cases: Cases of the edits where `edits` does not hold them.
        advance: Called with 1 for every edit read; None where nobody waits.

    Raises:
        HPEditError: Nothing there that can be rated, or anything wrong with it.
    """
    path = Path(edits)
    table = _csv_table(path)
    exhibits = []
    for exhibit in _from_csv(table, shelf) if table else _from_parquet(path, cases, shelf):
        exhibits.append(exhibit)
        if advance is not None:
            advance(1)
    if not exhibits:
        raise HPEditError(f"{path} holds no edits")
    seen: set[str] = set()
    for exhibit in exhibits:
        if exhibit.edit_id in seen:
            raise HPEditError(f"{path}: edit {exhibit.edit_id} appears twice", hint="ids must be unique")
        seen.add(exhibit.edit_id)
    return exhibits


def load_cases_to_check(cases: Path | str, shelf: PictureShelf, advance: Advance | None = None) -> list[Exhibit]:
    """Read the cases of a table or folder and put their sources on the shelf; an exhibit's edit_id is the case's id.

    Raises:
        HPEditError: No such file, no case in it, or a damaged picture.
    """
    exhibits = []
    for case in CasesFolder(cases).kept():
        shown = _shelve(case, shelf)
        fields = {name: getattr(shown, name) for name in shown.__slots__}
        exhibits.append(Exhibit(edit_id=case.id, case_id=case.id, editor="", picture="", **fields))
        if advance is not None:
            advance(1)
    if not exhibits:
        raise HPEditError(f"{cases} holds no cases")
    return exhibits


def count_edits(edits: Path | str) -> int:
    """About how many edits `load_exhibits` will find, for its progress; it says what is wrong, if anything is."""
    path = Path(edits)
    table = _csv_table(path)
    if table is not None:
        return max(0, table.read_bytes().count(b"\n") - 1)
    tables = [path] if path.is_file() else _edit_tables(path)
    return sum(len(_case_ids(table)) for table in tables)


def score_items(exhibits: Iterable[Exhibit]) -> list[Item]:
    """One item an edit."""
    return [Item(exhibit.edit_id, "score", "rate", (exhibit,)) for exhibit in exhibits]


def count_cases(cases: Path | str) -> int:
    """How many `load_cases_to_check` will find, for its progress; HPEditError if that is no table."""
    try:
        return int(pq.read_metadata(cases).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise HPEditError(
            f"{cases} is not a table of cases: {error}", hint="`hpedit bench build` makes one to be checked"
        ) from error


def check_items(exhibits: Iterable[Exhibit]) -> list[Item]:
    """One item a case, from `load_cases_to_check`."""
    return [Item(exhibit.case_id, "check", "rate", (exhibit,)) for exhibit in exhibits]


def compare_items(exhibits: Sequence[Exhibit]) -> list[Item]:
    """One item for every two edits of a case that differ in a pixel at least.

    Raises:
        HPEditError: No case has two such edits, or the edits of one case have not one source and one instruction.
    """
    groups: dict[str, list[Exhibit]] = {}
    for exhibit in exhibits:
        first = groups.setdefault(exhibit.case_id, [])
        first.append(exhibit)
        for what in ("source", "instruction"):
            if getattr(exhibit, what) != getattr(first[0], what):
                raise HPEditError(
                    f"edits {first[0].edit_id} and {exhibit.edit_id} of case {exhibit.case_id} differ in {what}: "
                    "they can't be compared",
                    hint="give each instruction on each photo a case_id of its own, or leave the column out",
                )
    pairs = [pair for group in groups.values() for pair in combinations(group, 2) if pair[0].picture != pair[1].picture]
    if not pairs:
        raise HPEditError("no case has two different edits to compare", hint="score them: --mode score")
    return [Item(pair_id(*(edit.edit_id for edit in pair)), "compare", "rate", pair) for pair in pairs]


def pair_id(one: str, other: str) -> str:
    """The item of two edits, whichever is named first."""
    return json.dumps(sorted((one, other)), ensure_ascii=False)


def _csv_table(path: Path) -> Path | None:
    """The table of a folder that has one (edits.csv, or the only one with the columns), or `path` if it is a table."""
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


def _from_csv(table: Path, shelf: PictureShelf) -> Iterator[Exhibit]:
    named: dict[tuple[str, str], str] = {}
    for row in read_rows(table, CSV_COLUMNS):
        edit_id, instruction, source_file = row.name("edit_id"), row.name("instruction"), row.name("source_file")
        source = load_image(inside(table.parent, source_file, row.where))
        size = item_size(source)
        edited = load_image(inside(table.parent, row.name("edited_file"), row.where))
        # Edits of one photograph with one instruction are edits of one case, named after the first of them.
        case_id = _cell(row, "case_id") or named.setdefault((source_file, instruction), edit_id)
        task = _cell(row, "task", "category")
        yield Exhibit(
            edit_id=edit_id,
            case_id=case_id,
            source_id=_cell(row, "source_id", "photo_id") or source_file,
            task=task_of(task, instruction) if task else None,
            instruction=instruction,
            editor=_cell(row, "editor", "model"),
            source=shelf.add(fit(source, size)),
            references=(),
            picture=shelf.add(fit(edited, size)),
            size=size,
        )


def _cell(row: Row, *columns: str) -> str:
    """The first of these cells that is there and not empty."""
    return next((row.cells[name] for name in columns if row.cells.get(name)), "")


def _from_parquet(path: Path, cases: Path | str | None, shelf: PictureShelf) -> Iterator[Exhibit]:
    tables = [path] if path.is_file() else _edit_tables(path)
    wanted = {name for table in tables for name in _case_ids(table)}
    found: dict[str, _Shown] = {}
    for case in _cases_of(path) if cases is None else CasesFolder(cases).candidates():
        if case.id in wanted:
            found[case.id] = _shelve(case, shelf)
    for table in tables:
        for edit in iter_edits(table):
            if edit.case_id not in found:
                raise HPEditError(
                    f"{table}: edit {edit.id} belongs to case {edit.case_id}, which is not among the cases"
                )
            case_ = found[edit.case_id]
            yield Exhibit(
                edit_id=edit.id,
                case_id=edit.case_id,
                editor=edit.editor,
                picture=shelf.add(fit(edit.image, case_.size)),
                **{name: getattr(case_, name) for name in case_.__slots__},
            )


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an exhibit takes from its case."""

    source_id: str
    task: str | None
    instruction: str
    source: str
    references: tuple[str, ...]
    size: tuple[int, int]


def _shelve(case: Case, shelf: PictureShelf) -> _Shown:
    size = item_size(case.source)
    references = tuple(shelf.add(_shrunk(image)) for image in case.sources[1:])
    source = shelf.add(fit(case.source, size))
    return _Shown(case.source_id, case.task or None, case.instruction, source, references, size)


def _shrunk(image: Image.Image) -> Image.Image:
    return fit(image, item_size(image))


def _edit_tables(folder: Path) -> list[Path]:
    """The tables of edits of a run: in the folder itself, or one folder below it, one for each model."""
    if CasesFolder(folder).built:
        return CasesFolder(folder).edit_files()
    tables = sorted([*folder.glob("edits.parquet"), *folder.glob("*/edits.parquet")])
    if not tables:
        raise HPEditError(
            f"{folder} holds no edits", hint="it needs edits.parquet, or a CSV with " + ", ".join(CSV_COLUMNS)
        )
    return tables


def _cases_of(path: Path) -> Iterator[Case]:
    """The cases that belong to the edits in `path`: of a build all that it edited, or cases.parquet there or above."""
    folder = path if path.is_dir() else path.parent
    for place in (folder, folder.parent):
        if CasesFolder(place).built or (place / "cases.parquet").is_file():
            return CasesFolder(place).candidates()
    raise HPEditError(f"{folder} holds no cases for its edits", hint="name them: --cases cases.parquet")


def _case_ids(table: Path) -> list[str]:
    """The case of every edit of a table, without its pictures."""
    try:
        return [str(name) for name in pq.read_table(table, columns=["case_id"]).column("case_id").to_pylist()]
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise HPEditError(f"{table} is not a table of edits: {error}", hint="give edits.parquet") from error
