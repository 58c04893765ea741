"""What is done to a chunk in each stage: plain dataclasses that an engine sends to its workers.

`ReadPhotos` takes chunks of sources, all others take numbers of chunks. Each writes one file and depends on nothing but
its fields and the files of the stages before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases import parts
from hpedit.cases.engine.protocol import Counts
from hpedit.cases.photos import Chunk, Photo
from hpedit.cases.recipe import EditsSection, InstructionsSection, LabelsSection, SourceSection
from hpedit.cases.sources import OpenedSource, open_source
from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, Score
from hpedit.store.tables import iter_cases, iter_edits, write_edits, write_parquet_table, write_scores

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer

PHOTOS, UNIQUE, LABELS, DRAFTS, BALANCE = "1-photos", "2-unique", "3-labels", "4-drafts", "5-balance"
EDITS, SCORES, FILTER, DATASET = "6-edits", "6-scores", "7-filter", "8-dataset"
CANDIDATES = "candidates"
"""Folders of a build."""
INDEX = "photos.parquet"
CHOSEN = "chosen.parquet"
FATES = "fates.parquet"


def candidates_file(out: Path, number: int) -> Path:
    """The file of the candidates of a chunk."""
    return out / CANDIDATES / f"part-{number:06d}.parquet"


@dataclass(frozen=True, slots=True)
class ReadPhotos:
    """1-photos: decode a chunk of a source and take its fingerprints."""

    sources: tuple[SourceSection, ...]
    base: Path
    seed: int
    out: Path
    models: bool = False

    def file(self, chunk: Chunk) -> Path:
        """Where a chunk goes."""
        return self.out / PHOTOS / f"{chunk.source:02d}-{chunk.number:06d}.parquet"

    def open(self) -> Callable[[Chunk], Counts]:
        """See `Task`."""
        opened: dict[int, OpenedSource] = {}

        def work(chunk: Chunk) -> Counts:
            number = chunk.source
            if number not in opened:
                opened[number] = open_source(self.sources[number], number, self.base, self.seed)
            found: Counter[str] = Counter()

            def counted() -> Iterator[object]:
                for item in opened[number].read(chunk):
                    found["items"] += 1
                    yield item

            parts.write_photos(self.file(chunk), counted(), number)  # type: ignore[arg-type]
            return found

        return work


class PhotoFiles:
    """The photographs that stay of each file of 1-photos, by the file's number."""

    def __init__(self, out: Path) -> None:
        self.files = parts.part_files(out / PHOTOS)
        self._index = pq.ParquetFile(out / UNIQUE / INDEX)

    def kept(self, number: int) -> list[int]:
        """Rows of the photographs that stay."""
        rows = self._index.read_row_group(number, columns=["row", "kept"]).to_pylist()
        return [row["row"] for row in rows if row["kept"]]

    def rows(self, number: int, wanted: Sequence[int], columns: Sequence[str] | None = None) -> list[parts.Row]:
        """These rows of the file."""
        if not wanted:
            return []
        table = pq.read_table(self.files[number], columns=None if columns is None else list(columns))
        rows: list[parts.Row] = table.take(list(wanted)).to_pylist()
        return rows

    def photos(self, number: int, wanted: Sequence[int], *, pictures: bool) -> list[Photo]:
        """These photographs of the file; for one who does not look at the pictures they are not decoded."""
        if pictures:
            return [parts.photo_of(row) for row in self.rows(number, wanted, (*parts.THIN, "source"))]
        blank = Image.new("RGB", (1, 1))
        return [parts.photo_of(row, blank) for row in self.rows(number, wanted, parts.THIN)]


@dataclass(frozen=True, slots=True)
class LabelPhotos:
    """3-labels: name the main object of each photograph that stays."""

    section: LabelsSection
    out: Path

    @property
    def models(self) -> bool:
        """See `Task`."""
        return self.section.by in ("clip", "judge")

    def file(self, number: int) -> Path:
        """Where a chunk goes."""
        return parts.numbered(self.out / LABELS, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.labels.labeller import load_labeller

        labeller, files = load_labeller(self.section), PhotoFiles(self.out)

        def work(number: int) -> Counts:
            kept = files.kept(number)
            photos = files.photos(number, kept, pictures=self.models)
            labels = labeller.label([photo.image for photo in photos], [photo.labels for photo in photos])
            rows = [
                {"row": row, "category": label.category, "probability": label.probability}
                for row, label in zip(kept, labels, strict=True)
            ]
            parts.write_rows(self.file(number), parts.LABELS, rows)
            return {"items": len(kept)}

        return work


@dataclass(frozen=True, slots=True)
class WriteDrafts:
    """4-drafts: instructions for each photograph that stays, written or as they came with it."""

    section: InstructionsSection
    categories: tuple[str, ...]
    base: Path
    seed: int
    out: Path

    @property
    def models(self) -> bool:
        """See `Task`."""
        return self.section.by == "judge"

    def file(self, number: int) -> Path:
        """Where a chunk goes."""
        return parts.numbered(self.out / DRAFTS, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.instructions.writer import load_writer

        writer = load_writer(self.section, self.seed, categories=self.categories, base=self.base)
        files = PhotoFiles(self.out)

        def work(number: int) -> Counts:
            kept = files.kept(number)
            labels = {row["row"]: row["category"] for row in parts.read_rows(parts.numbered(self.out / LABELS, number))}
            photos = files.photos(number, kept, pictures=self.models)
            categories = [labels[row] for row in kept]
            rows: list[parts.Row] = []
            for row, category, written in zip(kept, categories, writer.write(photos, categories), strict=True):
                rows += parts.draft_rows(row, category, written)
            parts.write_rows(self.file(number), parts.DRAFTS, rows)
            return {"items": len(kept)}

        return work


@dataclass(frozen=True, slots=True)
class MakeCandidates:
    """5-balance: the chosen drafts of a chunk with their photographs, as cases."""

    out: Path
    models: bool = False

    def file(self, number: int) -> Path:
        """Where a chunk goes."""
        return candidates_file(self.out, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        chosen, files = pq.ParquetFile(self.out / BALANCE / CHOSEN), PhotoFiles(self.out)

        def work(number: int) -> Counts:
            rows = chosen.read_row_group(number).to_pylist()
            write_parquet_table(self.file(number), parts.CANDIDATES, _candidates(rows, files, self.out))
            return {"items": len(rows)}

        return work


def _candidates(rows: Sequence[parts.Row], files: PhotoFiles, out: Path) -> Iterator[tuple[str, parts.Row]]:
    """(id, row) of each candidate of a chunk; the files of photographs are gone through one by one."""
    by_file: dict[int, list[parts.Row]] = {}
    for row in rows:
        by_file.setdefault(row["part"], []).append(row)
    for part, mine in by_file.items():
        wanted = sorted({row["row"] for row in mine})
        photos = dict(zip(wanted, files.rows(part, wanted), strict=True))
        drafts = {
            (draft["row"], draft["number"]): draft for draft in parts.read_rows(parts.numbered(out / DRAFTS, part))
        }
        for row in mine:
            draft = drafts[row["row"], row["number"]]
            yield row["case_id"], parts.candidate_row(photos[row["row"]], draft, row["case_id"], row["unit"])


@dataclass(frozen=True, slots=True)
class EditCandidates:
    """6-edits: k edits of each candidate by the base editor."""

    section: EditsSection
    seed: int
    out: Path
    editor: Editor | None = None
    """Edits instead of the one that the section names."""
    models: bool = True

    def file(self, number: int) -> Path:
        """Where a chunk goes."""
        return parts.numbered(self.out / EDITS, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.hardness import edit_chunk

        editor, wanted = self.editor or _load_editor(self.section), self.section

        def work(number: int) -> Counts:
            cases = list(iter_cases(candidates_file(self.out, number)))
            edits = edit_chunk(cases, editor, wanted.per_case, self.seed, wanted.steps, wanted.batch)
            write_edits(self.file(number), (edit for row in edits for edit in row))
            return {"items": sum(map(len, edits))}

        return work


def _load_editor(section: EditsSection) -> Editor:
    from hpedit.editors.load import load_editor

    lora = Path(section.lora) if section.lora else None
    editor: Editor = load_editor(str(section.editor), section.revision, lora=lora)
    return editor


@dataclass(frozen=True, slots=True)
class ScoreEdits:
    """6-scores: the scorer's score of each edit."""

    folder: Path | None
    """Of the scorer."""
    batch: int
    out: Path
    scorer: Scorer | None = None
    """Scores instead of the one in the folder."""
    models: bool = True

    def file(self, number: int) -> Path:
        """Where a chunk goes."""
        return parts.numbered(self.out / SCORES, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.hardness import score_chunk
        from hpedit.scorer.hp_scorer import HPScorer

        scorer = self.scorer
        if scorer is None:
            if self.folder is None:
                raise HPEditError("there is no scorer", hint="name filter.scorer")
            scorer = HPScorer.load(self.folder)

        def work(number: int) -> Counts:
            cases = list(iter_cases(candidates_file(self.out, number)))
            edits = edits_of(cases, parts.numbered(self.out / EDITS, number))
            scores: list[list[Score]] = score_chunk(cases, edits, scorer, self.batch)
            write_scores(self.file(number), (score for row in scores for score in row))
            return {"items": sum(map(len, edits))}

        return work


def edits_of(cases: Sequence[Case], file: Path) -> list[list[Edit]]:
    """The edits in a file of each of these cases, in the order of the cases."""
    found: dict[str, list[Edit]] = {case.id: [] for case in cases}
    for edit in iter_edits(file):
        if edit.case_id in found:
            found[edit.case_id].append(edit)
    return list(found.values())
