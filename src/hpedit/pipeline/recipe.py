"""The recipe of `hpedit run`: its schema. No torch.

It has the sections of the single commands' recipes under their own names (cases, rollout, train, evaluate, ...), one
`editor` and one `judge` for all stages; what one stage hands to the next is not named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hpedit.cases.recipe import (
    BalanceSection,
    CasesRecipe,
    DatasetSection,
    DuplicatesSection,
    FilterSection,
    InstructionsSection,
    LabelsSection,
    SourceSection,
)
from hpedit.config.kinds import RUN
from hpedit.config.reading import Section, read_recipe
from hpedit.config.recipe import (
    CheckpointSection,
    DPOSection,
    EditorSection,
    EvaluateSection,
    LogSection,
    LoraSection,
    NFTSection,
    Recipe,
    RewardSection,
    RolloutSection,
    ScaleSection,
    TrainSection,
)
from hpedit.tasks import TASK_IDS

DEMO = Path(__file__).parent / "demo.yaml"
"""The packaged recipe of `hpedit demo`."""
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class BaseEditsSection(Section):
    """The base editor's edits: of the cases that are rated, and of the candidates that the hard filter judges."""

    per_rated: Annotated[int, Field(ge=1, le=16)] = 2
    """Edits of each rated case, each with noise of its own."""
    per_candidate: Annotated[int, Field(ge=1, le=64)] = 1
    """Edits of each training candidate; `filter.by: informative` needs at least 2, and 4 or more to be worth much."""
    steps: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Sampling steps; left out, those of the rollout: rated is what training will see."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 48


class RunCasesSection(Section):
    """Photographs with instructions, split by source photograph into rated, training and benchmark cases."""

    sources: Annotated[tuple[SourceSection, ...], Field(min_length=1)]
    """As in `hpedit cases build`: folders of photographs, tables, ready cases; or one mini world."""
    duplicates: DuplicatesSection = DuplicatesSection()
    labels: LabelsSection = LabelsSection()
    instructions: InstructionsSection = InstructionsSection()
    balance: BalanceSection = BalanceSection()
    edits: BaseEditsSection = BaseEditsSection()
    filter: FilterSection = FilterSection(by="none")
    """Which candidates are hard enough to train on. Its scorer is the run's own."""
    dataset: DatasetSection = DatasetSection()
    rated_per_task: Count = 50
    """Cases of each task that people rate, at most. The paper rates 50 to 100 edits a task."""
    train_per_task: Count | None = None
    """Training candidates of each task at most; left out, all. A mini world needs a number."""
    bench_per_task: Count = 25
    """Held-out benchmark cases of each task, at most."""
    rated_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.2
    """Share of the source photographs whose cases may be rated."""
    bench_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.2
    """Share of the source photographs that are held out for the benchmark from the beginning."""

    @field_validator("filter")
    @classmethod
    def _uses_the_runs_scorer(cls, value: FilterSection) -> FilterSection:
        if value.scorer is not None:
            raise ValueError("leave filter.scorer out: the scorer is the one that this run fits")
        return value

    @model_validator(mode="after")
    def _is_one_kind(self) -> RunCasesSection:
        kinds = {source.kind for source in self.sources}
        if "mini" in kinds and (len(self.sources) > 1 or self.sources[0].mini != "train"):
            raise ValueError("a mini world is the only source of a run, as {mini: train}: it brings its own splits")
        if "mini" in kinds and self.train_per_task is None:
            raise ValueError("a mini world needs cases.train_per_task")
        if self.filter.by == "informative" and self.edits.per_candidate < 2:
            raise ValueError("the informative filter needs edits.per_candidate of at least 2")
        return self

    @property
    def mini(self) -> SourceSection | None:
        """The mini world, where the cases come from one."""
        return self.sources[0] if self.sources[0].kind == "mini" else None


class RatingsSection(Section):
    """Where the human scores of the base's edits come from."""

    by: Literal["app", "file", "run", "simulated"] = "app"
    """app: the run serves the rating page and goes on when there are enough; file: a CSV or JSONL of this run's edits;
    run: rated edits of another run; simulated: raters of the mini world, who know the exact target."""
    file: Text | None = None
    """For file: edit_id, rater, score."""
    run: Text | None = None
    """For run: the other run's folder. Its rated photographs are kept out of this run's training and benchmark."""
    overlap: Annotated[int, Field(ge=1, le=100)] = 3
    """For app: raters an edit."""
    enough: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """For app: share of the edits that must have `overlap` ratings before the run goes on."""
    practice: Annotated[int, Field(ge=0, le=10)] = 10
    retest: Annotated[int, Field(ge=0, le=1000)] = 5
    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    """0 takes a free one."""
    allow_host: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _names_what_it_reads(self) -> RatingsSection:
        for name in ("file", "run"):
            if self.by == name and getattr(self, name) is None:
                raise ValueError(f"ratings.{name} is missing: ratings.by is {name}")
            if self.by != name and getattr(self, name) is not None:
                raise ValueError(f"ratings.{name} is given, but ratings.by is {self.by}")
        return self


class ScorerSection(Section):
    """The HP-Scorer that is fitted on the ratings and then is filter, reward and one of the benchmark's instruments."""

    revision: Text | None = None
    """Of a judge that is a hub model."""
    probed: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Honest edits that are probed, of photographs that the fit has not seen."""
    force: bool = False
    """Go on with a scorer that failed its probe."""


class BenchSection(Section):
    """The base against the post-trained editor, on cases that were held out from the beginning."""

    steps: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Sampling steps of the deployed editor; left out, the model's own: 40 for Qwen-Image-Edit, 28 for Kontext, 8 for
    mini."""
    cfg: Annotated[float, Field(ge=1.0, le=20.0)] | None = None
    """Classifier-free guidance of the deployed editor; 1 is off. Left out, the model's own: 4 for Qwen-Image-Edit, 1
    for mini and for Kontext, whose guidance is embedded (`editor.guidance`)."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 48
    second_judge: Text | None = None
    """A judge, or the folder of another scorer, that takes no part in training; can be added to a finished run."""
    leaked: Literal["refuse", "drop"] = "refuse"
    """What becomes of held-out cases whose photograph, or a near duplicate of it, is rated or trained on too."""
    control: Literal["auto", "on", "off"] = "auto"
    """As many more supervised updates, for comparison; auto is on in a mini world, where exact edits are known."""


class RunRecipe(Section):
    """All of one run. Paths are relative to the folder in which the command runs."""

    COMMAND: ClassVar[str] = RUN

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    output: Text
    """The run's folder."""
    editor: EditorSection = EditorSection()
    judge: Text
    """mini, a folder, a hub id, or http://HOST:PORT/v1#MODEL, as --judge of `hpedit scorer fit`."""
    cases: RunCasesSection
    ratings: RatingsSection = RatingsSection()
    scorer: ScorerSection = ScorerSection()
    rewards: tuple[RewardSection, ...] = ()
    lora: LoraSection = LoraSection()
    rollout: RolloutSection = RolloutSection()
    train: TrainSection = TrainSection()
    nft: NFTSection = NFTSection()
    dpo: DPOSection = DPOSection()
    checkpoint: CheckpointSection = CheckpointSection()
    scale: ScaleSection = ScaleSection()
    log: LogSection = LogSection()
    evaluate: EvaluateSection = EvaluateSection()
    bench: BenchSection = BenchSection()

    @model_validator(mode="after")
    def _fits_together(self) -> RunRecipe:
        if self.ratings.by == "simulated" and self.cases.mini is None:
            raise ValueError("simulated raters need a mini world: only there is the exact edit known")
        if self.bench.control == "on" and self.cases.mini is None:
            raise ValueError("bench.control needs a mini world: only there are supervised pairs known")
        if self.train.algorithm == "offline_dpo":
            raise ValueError("a run has no preference pairs; `hpedit train` takes offline_dpo")
        self.training()
        return self

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self.output)

    @property
    def control(self) -> bool:
        """Whether a supervised control is trained and measured, too."""
        return self.bench.control == "on" or (self.bench.control == "auto" and self.cases.mini is not None)

    def training(self) -> Recipe:
        """The recipe that `hpedit train` would be given."""
        shared = {name: getattr(self, name) for name in Recipe.model_fields if name in _OF_TRAINING}
        return Recipe(
            seed=self.seed,
            output=str(self.path / "train"),
            cases=str(self.path / "cases"),
            scorer=str(self.path / "scorer"),
            scorer_force=self.scorer.force,
            **shared,
        )

    def candidates(self) -> CasesRecipe:
        """The recipe of `hpedit cases build` for all cases on photographs, before the split."""
        cases = self.cases
        return CasesRecipe(
            seed=self.seed,
            output=str(self.path / "candidates"),
            sources=cases.sources,
            duplicates=self._duplicates(),
            labels=cases.labels,
            instructions=cases.instructions,
            balance=cases.balance,
            dataset=cases.dataset,
        )

    def hard_cases(self, table: Path | None) -> CasesRecipe:
        """The recipe of `hpedit cases build` that edits the training candidates and keeps the hard ones.

        Args:
            table: The training candidates; None for those of a mini world.
        """
        cases, edits = self.cases, self.cases.edits
        if table is None:
            assert cases.mini is not None
            assert cases.train_per_task is not None
            sources = [cases.mini.model_dump(exclude_none=True) | {"count": cases.train_per_task * len(TASK_IDS)}]
        else:
            sources = [{"cases": str(table)}]
        keeps: dict[str, Any] = cases.filter.model_dump()
        if cases.filter.by != "none":
            keeps["scorer"] = str(self.path / "scorer")
        return CasesRecipe.model_validate(
            {
                "seed": self.seed,
                "output": str(self.path / "cases"),
                "sources": tuple(sources),
                "balance": {"tasks": "as_found", "categories": "as_found"},
                "edits": {
                    "editor": self.editor.model,
                    "revision": self.editor.revision,
                    "per_case": edits.per_candidate,
                    "steps": self.edit_steps,
                    "batch": edits.batch,
                },
                "filter": keeps,
                "dataset": cases.dataset.model_dump(),
            }
        )

    @property
    def edit_steps(self) -> int:
        """Sampling steps of the base's edits that are rated and filtered."""
        return self.cases.edits.steps or self.rollout.steps

    def _duplicates(self) -> DuplicatesSection:
        """With the photographs that another run's ratings are about left out."""
        if self.ratings.run is None:
            return self.cases.duplicates
        rated = str(Path(self.ratings.run) / "ratings" / "cases.parquet")
        return self.cases.duplicates.model_copy(update={"exclude": (*self.cases.duplicates.exclude, rated)})

    def resolved(self) -> dict[str, Any]:
        """All settings, defaults included, as plain JSON."""
        return self.model_dump(mode="json")

    def shaping(self) -> dict[str, Any]:
        """The settings that shape the result, which a continued run must not change."""
        settings = self.resolved() | {"editor": self.editor.shaping()}
        for key in MAY_CHANGE:
            section, _, name = key.rpartition(".")
            (settings[section] if section else settings).pop(name)
        return settings


_OF_TRAINING = (
    "rewards", "editor", "lora", "rollout", "train", "nft", "dpo", "checkpoint", "scale", "log", "evaluate",
)  # fmt: skip
MAY_CHANGE = (
    "output", "ratings.host", "ratings.port", "ratings.allow_host", "ratings.enough", "scorer.force", "scale",
    "bench.second_judge",
)  # fmt: skip
"""Keys that may change when a run is continued."""


def load_run_recipe(path: Path | str, overrides: tuple[str, ...] | list[str] = ()) -> RunRecipe:
    """Read a recipe of `hpedit run`; HPEditError with all mistakes at once."""
    return read_recipe(path, RunRecipe, list(overrides))
