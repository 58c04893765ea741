"""The recipe schema of `hpedit cases build`. No torch.

Stages run in the order of the sections: sources, duplicates, labels, instructions, balance, edits, filter, dataset.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from hpedit.config.editor import EditorSection
from hpedit.config.kinds import CASES
from hpedit.config.reading import Section
from hpedit.tasks import TASK_IDS

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Score = Annotated[float, Field(ge=0.0, le=5.0)]
Weight = Annotated[float, Field(ge=0.0)]

C = TypeVar("C", bound=Iterable[str])
MAPPED = ("table", "parquet")
"""Kinds of sources whose columns may have other names."""
KINDS = ("folder", "image_folder", "parquet", "webdataset", "table", "cases", "mini")


def _check_tasks(tasks: C) -> C:
    for task in tasks:
        if task not in TASK_IDS:
            raise ValueError(f"unknown task {task!r}; choose from {', '.join(TASK_IDS)}")
    return tasks


ROW_KEYS = (
    "id", "image", "reference", "instruction", "task", "source_id", "object", "label", "requirement", "language",
    "licence", "origin",
)  # fmt: skip
"""What a row of a source may say."""


class SourceSection(Section):
    """A source of photographs or ready cases. Exactly one of the first seven keys is set."""

    folder: Text | None = None
    """Folder of pictures, searched recursively."""
    image_folder: Text | None = None
    """Folder as `datasets.load_dataset("imagefolder")` reads it: metadata.csv, .jsonl or .parquet with file_name."""
    parquet: Text | None = None
    """Parquet file, or folder of files, with a Hugging Face Image column."""
    webdataset: Text | None = None
    """Tar shards: a file, a folder, or a glob such as shards/*.tar."""
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
    """For mini: number of scenes over all tasks; else the maximum number of photographs, the first by name or row."""
    licence: Text | None = None
    """Of photographs for which the source itself (a row, or a .json beside the picture) gives none."""
    origin: Text | None = None
    """Where they come from, for the dataset card; each keeps its file name."""
    image_column: Text | None = None
    """For parquet: the image column; None = the only one.

    For webdataset: which file of a sample is the photograph if there are several, such as `input` or `input.jpg`.
    """

    columns: Annotated[dict[str, Text], Field(default_factory=dict)]
    """Our column -> theirs, such as {image: input_image, instruction: edit_prompt, source_id: img_id}."""
    tasks: Annotated[dict[str, Text], Field(default_factory=dict)]
    """Their name of a task -> ours, such as {"Remove an existing object": removal}."""
    ignore: tuple[Text, ...] = ()
    """Columns of pictures or texts that shall not be read."""

    @field_validator("columns")
    @classmethod
    def _are_columns(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in ROW_KEYS:
                raise ValueError(f"unknown column {name!r}; choose from {', '.join(ROW_KEYS)}")
        return value

    @field_validator("tasks")
    @classmethod
    def _map_to_tasks(cls, value: dict[str, str]) -> dict[str, str]:
        _check_tasks(value.values())
        return value

    @model_validator(mode="after")
    def _is_one_source(self) -> SourceSection:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "there is none"
            raise ValueError(f"a source has exactly one of {', '.join(KINDS)}, {found}")
        unread = [name for name in ("columns", "tasks", "ignore") if getattr(self, name)]
        if unread and self.kind not in MAPPED:
            raise ValueError(f"{unread[0]} is read of {' and '.join(MAPPED)} alone, not of {self.kind}")
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)


class DuplicatesSection(Section):
    """Deduplication, and exclusion of benchmarks (leakage)."""

    near: Annotated[int, Field(ge=0, le=16)] = 6
    """Bits of 64 in which the perceptual hashes of near duplicates may differ; 0 drops only equal pixels."""
    exclude: tuple[Text, ...] = ()
    """Benchmarks (parquet or folder of cases) whose ids, pixels and near duplicates are excluded."""


class LabelsSection(Section):
    """Classify the main object of photographs, by default into the 80 categories of COCO."""

    by: Literal["none", "given", "clip", "judge"] = "none"
    """given: the source's labels; clip: CLIP or SigLIP zero-shot; judge: a VLM."""
    model: Text | None = None
    """For clip: hub id or folder of a CLIP or SigLIP. For judge: as --judge of `hpedit scorer fit`."""
    revision: Text | None = None
    categories: tuple[Text, ...] = ()
    """Used instead of COCO's."""
    min_probability: Share = 0.1
    """Below it a photograph has no category."""


class InstructionsSection(Section):
    """Write instructions for photographs without any."""

    by: Literal["templates", "judge", "given"] = "templates"
    """templates: from an object list; judge: a VLM that sees the photograph; given: only the source's."""
    model: Text | None = None
    """For judge: as --judge of `hpedit scorer fit`."""
    revision: Text | None = None
    tasks: tuple[Text, ...] = TASK_IDS
    per_photo: Annotated[int, Field(ge=1, le=8)] = 2
    """Tasks of one photograph, drawn evenly."""
    wordings: Annotated[int, Field(ge=1, le=8)] = 1
    """Wordings of each instruction; the balance takes at most one of them."""
    languages: tuple[Text, ...] = ("en",)
    """ISO 639-1 codes, for judge; drawn evenly."""
    feasibility: bool = True
    """With a judge: drop instructions whose object is missing or whose edit is impossible, by yes-or-no questions."""
    objects: Text | None = None
    """For templates: a text file of objects to add and swap in, one a line; None = the categories."""

    @field_validator("tasks")
    @classmethod
    def _are_tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _check_tasks(value)


class BalanceSection(Section):
    """Choose candidate cases towards a target distribution over tasks and categories."""

    count: Count | None = None
    """Maximum number of cases; None = as many as the target distribution allows with `slack`."""
    tasks: Literal["even", "as_found"] | dict[str, Weight] = "even"
    categories: Literal["even", "as_found"] | dict[str, Weight] = "even"
    per_photo: Count | None = None
    """Maximum number of cases of one photograph."""
    slack: Weight = 0.5
    """How far a task may exceed the rarest one's count, as a share of it, when `count` is None."""

    @field_validator("tasks")
    @classmethod
    def _weigh_tasks(cls, value: Any) -> Any:
        if isinstance(value, dict):
            _check_tasks(value)
            if not any(value.values()):
                raise ValueError("every weight is 0")
        return value


class EditsSection(Section):
    """The base editor's edits of each candidate case."""

    editor: EditorSection | None = None
    """The editor, as in all recipes; its name alone (mini, a folder, or a hub id) is enough. None makes no edits, so
    nothing can be filtered."""
    revision: Text | None = None
    """The same as editor.revision."""
    lora: Text | None = None
    per_case: Annotated[int, Field(ge=1, le=64)] = 1
    """k edits with different noise; the informative filter needs at least 2, better 4 or more."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 8
    batch: Annotated[int, Field(ge=1, le=1024)] = 48

    @field_validator("editor")
    @classmethod
    def _names_its_model(cls, editor: EditorSection | None) -> EditorSection | None:
        if editor is not None and "model" not in editor.model_fields_set:
            raise ValueError("its model is missing: mini, a folder, or a hub id")
        return editor

    @model_validator(mode="after")
    def _has_one_revision(self) -> EditsSection:
        if self.revision and self.editor and self.editor.revision not in (None, self.revision):
            raise ValueError(f"edits.revision is {self.revision}, edits.editor.revision {self.editor.revision}")
        return self

    @property
    def opened(self) -> EditorSection:
        """The editor with its revision; there must be one."""
        assert self.editor is not None
        return self.editor.model_copy(update={"revision": self.editor.revision or self.revision})

    def shaping(self) -> dict[str, Any]:
        """All settings as plain JSON, as a build's folder keeps them: an editor by its name where that is all."""
        found = self.model_dump(mode="json")
        if self.editor is None:
            return found
        section = self.opened
        more = section.model_dump(mode="json", exclude_defaults=True, exclude={"model", "revision"})
        if section.dtype == "float32":
            more.pop("dtype")  # what it was before it could be chosen
        named = {"model": section.model, **more} if more else section.model
        return found | {"revision": section.revision, "editor": named}


class FilterSection(Section):
    """Filter cases by hardness, see `cases/hardness.py`."""

    by: Literal["none", "drop-solved", "informative"] = "none"
    """drop-solved: the paper's, drops a rounded mean of 5; informative: keeps cases with a spread of scores."""
    scorer: Text | None = None
    """Folder of a fitted scorer."""
    low: Score = 0.5
    """informative: with a mean score below it and no spread, a case is impossible."""
    high: Score = 4.5
    """informative: with a mean score above it and no spread, a case is solved."""
    min_std: Annotated[float, Field(ge=0.0, le=2.5)] = 0.15
    """informative: standard deviation of the k scores from which a case is kept whatever its mean."""
    sheet: Annotated[int, Field(ge=0, le=400)] = 48
    """Dropped cases on the contact sheet."""


class DatasetSection(Section):
    """The dataset and its card."""

    name: Text = "RealPref"
    """Title of the dataset card."""
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    licence: Text | None = None
    """Of the dataset, by the hub's identifier (cc-by-4.0); photographs keep their own."""


class CasesRecipe(Section):
    """The recipe of `hpedit cases build`."""

    COMMAND: ClassVar[str] = CASES

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
                raise ValueError(f"filter.by is {self.filter.by}, which needs edits: set edits.editor")
            if self.filter.scorer is None:
                raise ValueError(f"filter.by is {self.filter.by}, which needs scores: set filter.scorer")
        if self.filter.by == "informative" and self.edits.per_case < 2:
            raise ValueError(f"the informative filter needs edits.per_case of at least 2, is {self.edits.per_case}")
        for section in (self.labels, self.instructions):
            if section.by in ("clip", "judge") and section.model is None:
                raise ValueError(f"{'labels' if section is self.labels else 'instructions'}.model is missing")
        return self
