"""The work on one chunk in each stage of a build: plain dataclasses that an engine sends to its workers.

`ReadPhotos` takes chunks of sources, the others take numbers of chunks. Each writes one file, which depends only on the
task's fields and the files of earlier stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow.parquet as pq
from PIL import Image

from hpedit.cases import stage_io
from hpedit.cases.engine.protocol import Counts
from hpedit.cases.recipe import EditsSection, InstructionsSection, LabelsSection, SourceSection
from hpedit.cases.source_items import Chunk, Photo, Skipped
from hpedit.cases.sources import OpenedSource, open_source
from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, Score
from hpedit.store.parquet import check_parquet, open_parquet
from hpedit.store.tables import iter_cases, iter_edits, write_edits, write_parquet_table, write_scores

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer

PHOTOS, UNIQUE, LABELS, INSTRUCTIONS, BALANCE = "1-photos", "2-unique", "3-labels", "4-drafts", "5-balance"
EDITS, SCORES, FILTER, DATASET = "6-edits", "6-scores", "7-filter", "8-dataset"
CANDIDATES = "candidates"
"""Folders of a build."""
INDEX = "photos.parquet"
CHOSEN = "chosen.parquet"
DECISIONS = "fates.parquet"


MAX_ASPECT = 8.0
"""Longer side by shorter side of a usable picture: that of hpedit.editors.sizes, whose module needs torch."""


def candidates_file(out: Path, number: int) -> Path:
    """The file of a chunk's candidate cases."""
    return out / CANDIDATES / f"part-{number:06d}.parquet"


@dataclass(frozen=True)
class _NumberedTask:
    """A task whose chunks are numbers; each writes the file of that number in its stage's folder."""

    out: Path
    """The build's output."""
    stage: ClassVar[str]

    def file(self, number: int) -> Path:
        """Path of a chunk's result."""
        return stage_io.chunk_file(self.out / self.stage, number)


@dataclass(frozen=True, slots=True)
class ReadPhotos:
    """1-photos: decode a chunk of a source and hash its pictures."""

    sources: tuple[SourceSection, ...]
    base: Path
    seed: int
    out: Path
    models: bool = False

    def file(self, chunk: Chunk) -> Path:
        """Path of a chunk's result."""
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
                    yield _usable(item, number)

            stage_io.write_photos(self.file(chunk), counted(), number)  # type: ignore[arg-type]
            return found

        return work


def _usable(item: Photo | Case | Skipped, number: int) -> Photo | Case | Skipped:
    """The item, or why no editor takes it: one picture that is too narrow must not end a build hours later."""
    if isinstance(item, Skipped):
        return item
    for image in item.sources if isinstance(item, Case) else (item.image,):
        if max(image.size) > MAX_ASPECT * min(image.size):
            name = f"{number}/{item.id}" if isinstance(item, Case) else item.id
            why = f"is too narrow to edit: the longer side may be {MAX_ASPECT:g} times the shorter"
            return Skipped(name, f"{name} of {image.width} x {image.height} px {why}")
    return item


class PhotoFiles:
    """The photographs left after deduplication, in each file of 1-photos by its number."""

    def __init__(self, out: Path) -> None:
        self.files = stage_io.chunk_files(out / PHOTOS)
        self._index = open_parquet(out / UNIQUE / INDEX)

    def kept(self, number: int) -> list[int]:
        """Row numbers of the photographs left."""
        rows = self._index.read_row_group(number, columns=["row", "kept"]).to_pylist()
        return [row["row"] for row in rows if row["kept"]]

    def rows(self, number: int, wanted: Sequence[int], columns: Sequence[str] | None = None) -> list[stage_io.Row]:
        """Read these rows of a file."""
        if not wanted:
            return []
        check_parquet(self.files[number])
        table = pq.read_table(self.files[number], columns=None if columns is None else list(columns))
        rows: list[stage_io.Row] = table.take(list(wanted)).to_pylist()
        return rows

    def photos(self, number: int, wanted: Sequence[int], *, pictures: bool) -> list[Photo]:
        """Read these photographs of a file; with `pictures` false they are not decoded but blank."""
        if pictures:
            return [stage_io.photo_of(row) for row in self.rows(number, wanted, (*stage_io.THIN, "source"))]
        blank = Image.new("RGB", (1, 1))
        return [stage_io.photo_of(row, blank) for row in self.rows(number, wanted, stage_io.THIN)]


@dataclass(frozen=True)
class LabelPhotos(_NumberedTask):
    """3-labels: classify the main object of each photograph left after deduplication."""

    section: LabelsSection
    stage = LABELS

    @property
    def models(self) -> bool:
        """See `Task`."""
        return self.section.by in ("clip", "judge")

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
            stage_io.write_chunk(self.file(number), stage_io.LABELS, rows)
            return {"items": len(kept)}

        return work


@dataclass(frozen=True)
class WriteInstructions(_NumberedTask):
    """4-drafts: write instruction candidates for each photograph left, or take those that came with it."""

    section: InstructionsSection
    categories: tuple[str, ...]
    base: Path
    seed: int
    stage = INSTRUCTIONS

    @property
    def models(self) -> bool:
        """See `Task`."""
        return self.section.by == "judge"

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.instructions.given_writer import load_writer

        writer = load_writer(self.section, self.seed, categories=self.categories, base=self.base)
        files = PhotoFiles(self.out)

        def work(number: int) -> Counts:
            kept = files.kept(number)
            labels = {
                row["row"]: row["category"]
                for row in stage_io.read_chunk(stage_io.chunk_file(self.out / LABELS, number))
            }
            photos = files.photos(number, kept, pictures=self.models)
            categories = [labels[row] for row in kept]
            rows: list[stage_io.Row] = []
            for row, category, written in zip(kept, categories, writer.write(photos, categories), strict=True):
                rows += stage_io.instruction_rows(row, category, written)
            stage_io.write_chunk(self.file(number), stage_io.INSTRUCTIONS, rows)
            return {"items": len(kept)}

        return work


@dataclass(frozen=True)
class MakeCandidates(_NumberedTask):
    """5-balance: combine the chosen instruction candidates of a chunk with their photographs to candidate cases."""

    models: bool = False

    def file(self, number: int) -> Path:
        """Path of a chunk's result."""
        return candidates_file(self.out, number)

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        chosen, files = open_parquet(self.out / BALANCE / CHOSEN), PhotoFiles(self.out)

        def work(number: int) -> Counts:
            rows = chosen.read_row_group(number).to_pylist()
            write_parquet_table(self.file(number), stage_io.CANDIDATES, _candidates(rows, files, self.out))
            return {"items": len(rows)}

        return work


def _candidates(rows: Sequence[stage_io.Row], files: PhotoFiles, out: Path) -> Iterator[tuple[str, stage_io.Row]]:
    """(id, row) of each candidate case of a chunk, one file of photographs in memory at a time."""
    by_file: dict[int, list[stage_io.Row]] = {}
    for row in rows:
        by_file.setdefault(row["part"], []).append(row)
    for part, mine in by_file.items():
        wanted = sorted({row["row"] for row in mine})
        photos = dict(zip(wanted, files.rows(part, wanted), strict=True))
        candidates = {
            (candidate["row"], candidate["number"]): candidate
            for candidate in stage_io.read_chunk(stage_io.chunk_file(out / INSTRUCTIONS, part))
        }
        for row in mine:
            candidate = candidates[row["row"], row["number"]]
            yield row["case_id"], stage_io.candidate_row(photos[row["row"]], candidate, row["case_id"], row["unit"])


@dataclass(frozen=True)
class EditCandidates(_NumberedTask):
    """6-edits: make k edits of each candidate case with the base editor."""

    section: EditsSection
    seed: int
    editor: Editor | None = None
    """Used instead of `section.editor`."""
    stage = EDITS
    models: bool = True

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.hardness import edit_candidates
        from hpedit.editors.load import open_editor

        wanted = self.section
        lora = Path(wanted.lora) if wanted.lora else None
        editor: Editor = self.editor or open_editor(wanted.opened, lora=lora)

        def work(number: int) -> Counts:
            cases = list(iter_cases(candidates_file(self.out, number)))
            edits = edit_candidates(cases, editor, wanted.per_case, self.seed, wanted.steps, wanted.batch)
            write_edits(self.file(number), (edit for row in edits for edit in row))
            return {"items": sum(map(len, edits))}

        return work


@dataclass(frozen=True)
class ScoreEdits(_NumberedTask):
    """6-scores: score each edit."""

    folder: Path | None
    """Of the scorer."""
    batch: int
    scorer: Scorer | None = None
    """Used instead of the one in `folder`."""
    stage = SCORES
    models: bool = True

    def open(self) -> Callable[[int], Counts]:
        """See `Task`."""
        from hpedit.cases.hardness import score_edits
        from hpedit.scorer.hp_scorer import HPScorer

        scorer = self.scorer
        if scorer is None:
            if self.folder is None:
                raise HPEditError("no scorer is given", hint="set filter.scorer")
            scorer = HPScorer.load(self.folder)

        def work(number: int) -> Counts:
            cases = list(iter_cases(candidates_file(self.out, number)))
            edits = edits_by_case(cases, stage_io.chunk_file(self.out / EDITS, number))
            scores: list[list[Score]] = score_edits(cases, edits, scorer, self.batch)
            write_scores(self.file(number), (score for row in scores for score in row))
            return {"items": sum(map(len, edits))}

        return work


def edits_by_case(cases: Sequence[Case], file: Path) -> list[list[Edit]]:
    """Read the edits of these cases from a file, in the order of the cases."""
    found: dict[str, list[Edit]] = {case.id: [] for case in cases}
    for edit in iter_edits(file):
        if edit.case_id in found:
            found[edit.case_id].append(edit)
    return list(found.values())
