"""The recipe of `hpedit cases build`: its schema. No torch.

Stages run in the order of the sections: sources, duplicates, labels, instructions, balance, edits, filter, dataset.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpedit.config.reading import Section
from hpedit.tasks import TASK_IDS

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Score = Annotated[float, Field(ge=0.0, le=5.0)]
Weight = Annotated[float, Field(ge=0.0)]

KINDS = ("folder", "image_folder", "parquet", "webdataset", "table", "cases", "mini")


class SourceSection(Section):
    """One place that photographs, or ready cases, come from. Exactly one of the first seven keys is given."""

    folder: Text | None = None
    """Folder of pictures, searched to its depths."""
    image_folder: Text | None = None
    """Folder as `datasets.load_dataset("imagefolder")` reads it: metadata.csv, .jsonl or .parquet with file_name."""
    parquet: Text | None = None
    """File, or folder of files, with a Hugging Face Image column."""
    webdataset: Text | None = None
    """Tar shards: a file, a folder, or a glob as shards/*.tar."""
    table: Text | None = None
    """CSV or JSONL of pictures with instructions; also the files of Edit-R1 and flow_grpo."""
    cases: Text | None = None
    """Ready cases: parquet, or a folder of `hpedit cases build`."""
    mini: Literal["train", "calibration", "bench"] | None = None
    """Scenes of the mini world, of one of its splits."""

    photos: Text | None = None
    """For mini: a folder of photographs instead of the embedded ones. For a table: the folder of its pictures."""
    objects: Text | None = None
    """For mini: a folder of cut-outs (PNG with alpha) instead of the drawn objects."""
    count: Count | None = None
    """For mini: number of scenes over all tasks; elsewhere: at most so many photographs, the first by name or row."""
    licence: Text | None = None
    """Of every photograph for which the source itself (a row, or a .json beside the picture) names none."""
    origin: Text | None = None
    """Where they come from, for the dataset card; the file's name is kept for each."""
    image_column: Text | None = None
    """For parquet: the column of pictures; None takes the only one there is.

    For webdataset: which file of a sample is the photograph where there are several, as `input` or `input.jpg`.
    """

    @model_validator(mode="after")
    def _is_one_source(self) -> SourceSection:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "there is none"
            raise ValueError(f"a source has exactly one of {', '.join(KINDS)}, {found}")
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)


class DuplicatesSection(Section):
    """What is dropped before anything is spent on it."""

    near: Annotated[int, Field(ge=0, le=16)] = 6
    """Bits of 64 in which two perceptual hashes may differ and still be one photograph; 0 drops equal pixels alone."""
    exclude: tuple[Text, ...] = ()
    """Benches (parquet or folder of cases) of which no id, no pixels and no near duplicate may come in."""


class LabelsSection(Section):
    """The category of a photograph's main object, among the 80 of COCO unless others are named."""

    by: Literal["none", "given", "clip", "judge"] = "none"
    """given: what the source says; clip: CLIP or SigLIP zero-shot; judge: a VLM answers which is there."""
    model: Text | None = None
    """For clip: hub id or folder of a CLIP or SigLIP. For judge: as --judge of `hpedit scorer fit`."""
    revision: Text | None = None
    categories: tuple[Text, ...] = ()
    """Other categories than COCO's."""
    min_probability: Share = 0.1
    """Below it a photograph has no category."""


class InstructionsSection(Section):
    """Who writes instructions for photographs that come without."""

    by: Literal["templates", "judge", "given"] = "templates"
    """templates: words around an object list; judge: a VLM writes them from the photo; given: the source's alone."""
    model: Text | None = None
    """For judge: as --judge of `hpedit scorer fit`."""
    revision: Text | None = None
    tasks: tuple[Text, ...] = TASK_IDS
    per_photo: Annotated[int, Field(ge=1, le=8)] = 2
    """Tasks asked of one photograph; which, is drawn so that all come up equally often."""
    wordings: Annotated[int, Field(ge=1, le=8)] = 1
    """Ways of saying each; every one becomes a candidate of its own, and the balance takes at most one of them."""
    languages: tuple[Text, ...] = ("en",)
    """ISO 639-1 codes, for judge; drawn evenly."""
    feasibility: bool = True
    """With a judge: ask whether the object is there and the edit possible, and drop what is not."""
    objects: Text | None = None
    """For templates: a text file of objects to add and to swap in, one a line; None takes the categories."""

    @field_validator("tasks")
    @classmethod
    def _are_tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for task in value:
            if task not in TASK_IDS:
                raise ValueError(f"{task!r} is no task; there are {', '.join(TASK_IDS)}")
        return value


class BalanceSection(Section):
    """Which candidates go on: a target distribution over tasks and categories."""

    count: Count | None = None
    """Cases to keep at most; None keeps as many as the target distribution allows with `slack`."""
    tasks: Literal["even", "as_found"] | dict[str, Weight] = "even"
    categories: Literal["even", "as_found"] | dict[str, Weight] = "even"
    per_photo: Count | None = None
    """Cases of one photograph at most."""
    slack: Weight = 0.5
    """How far a task may exceed the rarest one's count, as a share of it, when `count` is None."""

    @field_validator("tasks")
    @classmethod
    def _weigh_tasks(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for task in value:
                if task not in TASK_IDS:
                    raise ValueError(f"{task!r} is no task; there are {', '.join(TASK_IDS)}")
            if not any(value.values()):
                raise ValueError("every weight is 0")
        return value


class EditsSection(Section):
    """The base editor's edits of each case."""

    editor: Text | None = None
    """mini, a folder, or a hub id; None edits nothing, and then nothing can be filtered."""
    revision: Text | None = None
    lora: Text | None = None
    per_case: Annotated[int, Field(ge=1, le=64)] = 1
    """k edits with different noise; the informative filter needs at least 2, and 4 or more to be worth much."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 8
    batch: Annotated[int, Field(ge=1, le=1024)] = 48


class FilterSection(Section):
    """Which cases are hard."""

    by: Literal["none", "drop-solved", "informative"] = "none"
    """drop-solved: the paper's, a rounded 5 is dropped; informative: see `cases/hardness.py`."""
    scorer: Text | None = None
    """Folder of a fitted scorer."""
    low: Score = 0.5
    """informative: with a mean of the k scores below it, and no variance, a case is impossible."""
    high: Score = 4.5
    """informative: with a mean above it, and no variance, a case is solved."""
    min_std: Annotated[float, Field(ge=0.0, le=2.5)] = 0.15
    """informative: deviation of the k scores from which a case is kept whatever its mean."""
    sheet: Annotated[int, Field(ge=0, le=400)] = 48
    """Dropped cases shown on the picture sheet."""


class DatasetSection(Section):
    """What is written."""

    name: Text = "RealPref"
    """Title of the dataset card."""
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    licence: Text | None = None
    """Of the dataset as a whole, as a hub knows it (cc-by-4.0); the photographs keep their own."""


class CasesRecipe(Section):
    """Everything that shapes a set of cases."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    output: Text
    sources: Annotated[tuple[SourceSection, ...], Field(min_length=1)]
    duplicates: DuplicatesSection = DuplicatesSection()
    labels: LabelsSection = LabelsSection()
    instructions: InstructionsSection = InstructionsSection()
    balance: BalanceSection = BalanceSection()
    edits: EditsSection = EditsSection()
    filter: FilterSection = FilterSection()
    dataset: DatasetSection = DatasetSection()

    @model_validator(mode="after")
    def _fits_together(self) -> CasesRecipe:
        if self.filter.by != "none":
            if self.edits.editor is None:
                raise ValueError(f"filter.by is {self.filter.by}, which needs edits: name edits.editor")
            if self.filter.scorer is None:
                raise ValueError(f"filter.by is {self.filter.by}, which needs scores: name filter.scorer")
        if self.filter.by == "informative" and self.edits.per_case < 2:
            raise ValueError(f"the informative filter needs edits.per_case of at least 2, is {self.edits.per_case}")
        for section in (self.labels, self.instructions):
            if section.by in ("clip", "judge") and section.model is None:
                raise ValueError(f"{'labels' if section is self.labels else 'instructions'}.model is missing")
        return self
