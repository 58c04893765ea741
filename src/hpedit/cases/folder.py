"""Read cases from a build, a dataset, a folder with cases.parquet, or a table.

    folder = CasesFolder(Path("runs/cases"))
    folder.kept()             # to train and evaluate on: what the filter kept
    folder.candidates()       # to rate and to fit a scorer on: all edited cases, with
    folder.edits()            # the base editor's edits

Cases are read one at a time. Only a build has edits and cases that were not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from hpedit.cases import stage_io
from hpedit.cases.sources.ready import case_files
from hpedit.cases.steps import BALANCE, CANDIDATES, DECISIONS, EDITS, FILTER
from hpedit.errors import HPEditError
from hpedit.records import Case, Edit
from hpedit.store.atomic import read_json
from hpedit.store.run_folder import hash_path
from hpedit.store.tables import iter_cases, iter_edits

RESUME = "run `hpedit cases build` with its recipe again to continue it"


class CasesFolder:
    """Cases on disk, by the path of a folder or table."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise HPEditError(f"{self.path} does not exist", hint="name a table or a folder of cases")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def built(self) -> bool:
        """Whether it is the output of `hpedit cases build`, finished or not."""
        return (self.path / BALANCE).is_dir()

    def case_files(self) -> list[Path]:
        """Tables of all candidate cases of a build, else of all cases; HPEditError if there is none."""
        if not self.built:
            return case_files(self.path)
        self._require(BALANCE)
        return stage_io.chunk_files(self.path / CANDIDATES)

    def edit_files(self) -> list[Path]:
        """Tables of a build's edits; HPEditError if it has none."""
        if not self.built:
            raise HPEditError(f"{self.path} is no output of `hpedit cases build`: no edits", hint="set --edits")
        self._require(EDITS)
        files = stage_io.chunk_files(self.path / EDITS)
        if not files:
            raise HPEditError(f"{self.path} was built without edits", hint="set edits.editor in its recipe")
        return files

    def candidates(self) -> Iterator[Case]:
        """Read all candidate cases of a build, else all cases."""
        for file in self.case_files():
            yield from iter_cases(file)

    def edits(self) -> Iterator[Edit]:
        """Read the build's edits, k of each candidate case."""
        for file in self.edit_files():
            yield from iter_edits(file)

    def kept(self) -> Iterator[Case]:
        """Read the cases that the filter kept; all without a filter."""
        for file, kept in zip(self.case_files(), self.kept_ids(), strict=True):
            if kept is None or kept:
                yield from (case for case in iter_cases(file) if kept is None or case.id in kept)

    def kept_ids(self) -> list[set[str] | None]:
        """For each of `case_files`, the ids of the cases that the filter kept; None without a build."""
        files = self.case_files()
        if not self.built:
            return [None] * len(files)
        self._require(FILTER)
        decisions = stage_io.read_row_groups(self.path / FILTER / DECISIONS, ("case_id", "kept"))
        return [{row["case_id"] for row in rows if row["kept"]} for _, rows in zip(files, decisions, strict=True)]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the content of the kept cases, independent of a build's other files."""
        if not self.built:
            return hash_path(self.path)
        self._require(FILTER)
        parts_of = (hash_path(self.path / CANDIDATES), hash_path(self.path / FILTER / DECISIONS))
        return hashlib.sha256("".join(parts_of).encode()).hexdigest()

    def _require(self, stage: str) -> None:
        """HPEditError while a stage is unfinished."""
        record = self.path / stage / "stage.json"
        if not record.exists() or "counts" not in read_json(record):
            raise HPEditError(f"{self.path} is not finished: {stage} is missing", hint=RESUME)


def load_cases(path: Path) -> list[Case]:
    """Load the kept cases of a folder, or the cases of a parquet file."""
    return list(CasesFolder(path).kept())
