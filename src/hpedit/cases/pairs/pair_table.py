"""Tables of preference pairs: one row a pair, with source, instruction and both edits as Hugging Face images.

    report = build_pairs(responses, cases, edits, out, PairRules())        # `hpedit ratings pairs`
    pairs = lazy_pairs(out); pairs[17]                                     # offline DPO

Pictures are copied as bytes over a temporary file beside the result: memory holds only ids.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from hpedit.cases.folder import CasesFolder
from hpedit.cases.pairs.preferences import PairRules, Preference, decide_pairs
from hpedit.errors import HPEditError
from hpedit.ratings.responses import Response
from hpedit.records import Case
from hpedit.store.csv_rows import index_csv_rows, is_number, read_csv_rows
from hpedit.store.lazy_rows import LazyRows
from hpedit.store.parquet import open_parquet
from hpedit.store.tables import IMAGE, decode_cell, read_parquet_table, write_parquet_table
from hpedit.tasks import TASK_IDS

BATCH = 64
"""Rows in memory at once: some 300 MB of edits at 1024 px."""
_SOURCES = ("source", "source_2", "source_3")
_CASE_TEXTS = ("task", "instruction", "source_id", "category", "origin", "licence")
_COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("case_id", "task", "instruction"), pa.string()),
    **dict.fromkeys((*_SOURCES, "chosen", "rejected"), IMAGE),
    **dict.fromkeys(("chosen_id", "rejected_id", "source_id", "category", "origin", "licence"), pa.string()),
    **{"margin": pa.float64(), "weight": pa.float64(), "basis": pa.string(), "raters": pa.int64()},
    "simulated": pa.bool_(),
}


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePair:
    """Two edits of one case with the preference between them."""

    case: Case
    """Without an oracle."""
    chosen: Image.Image
    """RGB: the preferred edit."""
    rejected: Image.Image
    """RGB."""
    preference: Preference


def build_pairs(
    responses: Iterable[Response], cases: Sequence[Path], edits: Sequence[Path], out: Path, rules: PairRules
) -> dict[str, Any]:
    """Decide preference pairs from people's responses and write their table, in the order of case and edit ids.

    Args:
        responses: Scores and votes.
        cases: Parquet tables of the cases.
        edits: Parquet tables of the edits that were rated.
        out: The parquet file to write. The order of the inputs' rows does not affect its bytes.
        rules: Thresholds and rater weights.

    Returns:
        The report of `decide_pairs`, with the pairs by task.

    Raises:
        HPEditError: a table is missing or damaged, an edit id is repeated, a case is missing, or no pair is left.
    """
    responses = list(responses)
    if not out.parent.is_dir():
        raise HPEditError(f"{out.parent} is not a folder", hint="--out names a file in a folder that exists")
    rated = {edit for response in responses for edit in response.edits}
    with tempfile.TemporaryFile(dir=out.parent) as file:
        spool = _Spool(file)
        case_of: dict[str, str] = {}
        for row in _rows(edits, {"id": pa.string(), "case_id": pa.string(), "image": IMAGE}, rated):
            if row["id"] in case_of:
                raise HPEditError(f"edit {row['id']} is in the edits twice", hint="ids must be unique")
            case_of[row["id"]] = row["case_id"]
            spool.put(row["id"], row["image"], f"edit {row['id']}")
        preferences, report = decide_pairs(responses, case_of, spool.digests, rules)
        found = _cases(cases, {preference.case_id for preference in preferences}, spool)
        counts = Counter(found[preference.case_id]["task"] for preference in preferences)
        write_parquet_table(
            out,
            _COLUMNS,
            ((f"{one.chosen} over {one.rejected}", _row(one, found[one.case_id], spool)) for one in preferences),
        )
    order = [*TASK_IDS, *sorted(set(counts) - set(TASK_IDS))]
    return report | {"tasks": {task: counts[task] for task in order if counts[task]}, "file": str(out)}


def read_pairs(path: Path | str, rows: range | None = None) -> Iterator[PreferencePair]:
    """Read preference pairs, or these rows, one row group in memory at a time; HPEditError for another file."""
    yield from read_parquet_table(Path(path), _COLUMNS, _pair_of, rows)


def lazy_pairs(path: Path | str) -> LazyRows[PreferencePair]:
    """Preference pairs as a sequence that decodes a pair on access; HPEditError for another file."""
    path = Path(path)
    for _ in read_pairs(path, range(1)):
        break  # an unsuitable file is an error now, not when training reads its first pair
    with open_parquet(path) as file:
        return LazyRows([path], read_pairs, [(0, row) for row in range(file.metadata.num_rows)])


def read_weights(path: Path) -> dict[str, float]:
    """Read raters' weights from a CSV of rater, weight; HPEditError names the line of an invalid one."""
    weights = {}
    for (rater,), row in index_csv_rows(read_csv_rows(path, ("rater", "weight")), ("rater",)).items():
        if not is_number(row["weight"]) or float(row["weight"]) < 0.0:
            raise HPEditError(f"{row.where}: the weight of {rater} is {row['weight']!r}", hint="a number, 0 or more")
        weights[rater] = float(row["weight"])
    return weights


def edit_tables(path: Path) -> list[Path]:
    """Find tables of edits: a file, or those of a build, of bench runs; HPEditError if there is none."""
    folder = CasesFolder(path)
    if path.is_file():
        return [path]
    found = sorted([*path.glob("edits.parquet"), *path.glob("*/edits.parquet")])
    return found or folder.edit_files()


class _Spool:
    """Picture bytes by name in a temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self.digests: dict[str, str] = {}
        """SHA-256 (hex) of each."""

    def put(self, name: str, cell: Mapping[str, Any] | None, what: str) -> None:
        data = None if cell is None else cell["bytes"]
        if not data:
            raise HPEditError(f"{what} has no image bytes in its table", hint="embed the images, not their paths")
        self._places[name] = (self._file.seek(0, 2), len(data))
        self._file.write(data)
        self.digests[name] = hashlib.sha256(data).hexdigest()

    def get(self, name: str) -> dict[str, bytes | None] | None:
        """An image cell; None for an unknown name."""
        if name not in self._places:
            return None
        start, size = self._places[name]
        self._file.seek(start)
        return {"bytes": self._file.read(size), "path": None}


def _rows(
    tables: Sequence[Path], columns: Mapping[str, pa.DataType], wanted: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Rows of parquet tables with a wanted id."""
    ids = pa.array(sorted(wanted), pa.string())
    for table in tables:
        try:
            with open_parquet(table) as file:
                missing = sorted(set(columns) - set(file.schema_arrow.names))
                if missing:
                    raise HPEditError(f"{table} lacks the columns {', '.join(missing)}", hint="is it another table?")
                for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                    yield from batch.filter(pc.is_in(batch.column("id"), value_set=ids)).to_pylist()
        except FileNotFoundError as error:
            raise HPEditError(f"{table} does not exist") from error
        except pa.ArrowInvalid as error:
            raise HPEditError(f"{table} is not a readable parquet file: {error}", hint="write it again") from error


def _cases(tables: Sequence[Path], wanted: set[str], spool: _Spool) -> dict[str, dict[str, Any]]:
    """The texts of each wanted case; its pictures go to the spool."""
    columns = {"id": pa.string(), **dict.fromkeys(_CASE_TEXTS, pa.string()), **dict.fromkeys(_SOURCES, IMAGE)}
    found: dict[str, dict[str, Any]] = {}
    for row in _rows(tables, columns, wanted):
        if row["id"] in found:
            continue
        found[row["id"]] = {name: row[name] or "" for name in _CASE_TEXTS}
        for name in _SOURCES:
            if row[name] is not None:
                spool.put(_picture(row["id"], name), row[name], f"{name} of case {row['id']}")
    if lost := sorted(wanted - set(found)):
        raise HPEditError(
            f"case {lost[0]} is missing from the cases ({len(lost)} of {len(wanted)} are)",
            hint="set --cases to the cases of these edits",
        )
    return found


def _picture(case_id: str, column: str) -> str:
    """A name in the spool that no edit has."""
    return f"\0{column}\0{case_id}"


def _row(preference: Preference, texts: Mapping[str, str], spool: _Spool) -> dict[str, Any]:
    row: dict[str, Any] = {"case_id": preference.case_id, **texts}
    row |= {name: spool.get(_picture(preference.case_id, name)) for name in _SOURCES}
    for side in ("chosen", "rejected"):
        edit = getattr(preference, side)
        row |= {side: spool.get(edit), f"{side}_id": edit}
    return row | {name: getattr(preference, name) for name in ("margin", "weight", "basis", "raters", "simulated")}


def _pair_of(row: Mapping[str, Any]) -> PreferencePair:
    where = f"case {row['case_id']}"
    sources = tuple(decode_cell(row[name], f"{name} of {where}") for name in _SOURCES if row[name] is not None)
    texts = {name: row[name] for name in _CASE_TEXTS}
    named = {name: row[name] for name in ("case_id", "margin", "weight", "basis", "raters", "simulated")}
    return PreferencePair(
        case=Case(id=row["case_id"], sources=sources, **texts),
        chosen=decode_cell(row["chosen"], f"edit {row['chosen_id']}"),
        rejected=decode_cell(row["rejected"], f"edit {row['rejected_id']}"),
        preference=Preference(chosen=row["chosen_id"], rejected=row["rejected_id"], **named),
    )
