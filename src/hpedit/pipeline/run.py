"""`hpedit run`: all stages in one folder; the same command continues where it was stopped or killed.

1. cases     photographs with instructions, split by photograph        candidates/, splits/
2. edits     the base editor's edits of the rated cases                 base_edits/, ratings/
3. ratings   people's scores: app, file, another run, or simulated      ratings/ratings.csv
4. scorer    HP-Scorer is fitted, probed, compared with raters          scorer/
5. hard      training candidates are edited and scored; hard ones stay  cases/
6. train     online RL with the scorer as reward                        train/
7. control   in a mini world: what else would raise the figures         control/, controls/
8. bench     base and post-trained edit the held-out cases              bench/
9. report    report.html, report.json, summary.json

Each stage is what the single command does, and continues by itself, so every sitting goes through all of them; what is
done takes no time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.editors.usual import on_accelerator, settle
from hpedit.errors import HPEditError
from hpedit.mini.world import World
from hpedit.pipeline import ratings
from hpedit.pipeline.changes import take_changes
from hpedit.pipeline.page import LivePage
from hpedit.pipeline.recipe import RunRecipe
from hpedit.pipeline.splits import (
    BENCH,
    CHECKED,
    FOLDER,
    RATED,
    TRAIN,
    Wanted,
    build_notes,
    counts_of,
    keep_apart,
    read_splits,
)
from hpedit.pipeline.state import RunState, StageState
from hpedit.progress import listening, note, tell
from hpedit.records import Case
from hpedit.store.atomic import read_json
from hpedit.store.run_folder import RunFolder
from hpedit.store.tables import read_cases, write_cases

if TYPE_CHECKING:
    from hpedit.bench.bench_folder import BenchFolder, Instrument
    from hpedit.editors.diffusers_editor import DiffusersEditor
    from hpedit.pipeline.scorer import Compared
    from hpedit.scorer.hp_scorer import HPScorer
    from hpedit.scorer.protocol import Scorer

ARMS = ("base", "post", "control")
SQUARISH = 2.0
"""Every editor takes pictures whose longer side is up to so many times the shorter; others are asked about."""


def run_pipeline(recipe: RunRecipe, *, command: str = "", offered: World | None = None) -> dict[str, Any]:
    """Run, or continue, all stages in the recipe's folder; returns the summary.

    Args:
        recipe: All of it.
        command: Which runs it again, for the report.
        offered: A mini world that is loaded already.

    Raises:
        HPEditError: a stage can't do its work, or the folder holds another run; what is done so far stays.
    """
    # Spinning OpenMP threads are ruinous when another process needs a core; it has to be said before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    settled = settle(recipe.editor, accelerator=on_accelerator(recipe.editor.device))
    recipe = recipe.model_copy(update={"editor": settled})
    take_changes(recipe)
    with RunFolder.open(recipe.path, "run", recipe.shaping()) as folder:
        run = _Run(recipe, offered, command)
        state = RunState(folder.path, [name for name, _ in run.stages()])
        with LivePage(folder.path, recipe) as page, listening(state.progress):
            for name, work in run.stages():
                with state.stage(name) as stage:
                    page.refresh()
                    run.note = stage
                    work()
                page.refresh()
        return run.summary


class _Run:
    """One sitting; each stage reads what the one before left on the disk."""

    def __init__(self, recipe: RunRecipe, world: World | None, command: str) -> None:
        self.recipe, self.out, self.seed, self.command = recipe, recipe.path, recipe.seed, command
        self._world = world
        self.note = StageState("")
        self.summary: dict[str, Any] = {}
        self.training: list[dict[str, Any]] = []
        self.folders: dict[str, BenchFolder] = {}
        self.beside: dict[str, Any] = {}
        """What the controls say."""
        if recipe.editor.device in ("auto", "cpu"):
            _few_threads()

    def stages(self) -> Sequence[tuple[str, Callable[[], None]]]:
        """The stages in order."""
        control = [("control", self._control)] if self.recipe.control else []
        return [
            ("cases", self._cases), ("edits", self._edits), ("ratings", self._ratings), ("scorer", self._scorer),
            ("hard cases", self._hard_cases), ("train", self._train), *control, ("bench", self._bench),
            ("report", self._report),
        ]  # fmt: skip

    @cached_property
    def world(self) -> World | None:
        """The mini world of the recipe; None on photographs."""
        source = self.recipe.cases.mini
        if source is None:
            return None
        return self._world or World(*(Path(path) if path else None for path in (source.photos, source.objects)))

    @cached_property
    def editor(self) -> DiffusersEditor:
        """The base editor; training and benchmark attach and detach their LoRAs."""
        from hpedit.editors.load import open_editor

        cache = None if self.world else self.out / "conditioning"
        return open_editor(self.recipe.editor, cfg=self.recipe.rollout.cfg, cache=cache)

    @cached_property
    def scorer(self) -> HPScorer:
        """The scorer that the stage before has fitted."""
        from hpedit.scorer.hp_scorer import HPScorer

        return HPScorer.load(self.out / "scorer")

    @cached_property
    def rated(self) -> ratings.RatedEdits:
        """The rated edits."""
        return ratings.read_rated(self.out / ratings.FOLDER)

    @cached_property
    def splits(self) -> dict[str, Path]:
        """Tables of the splits."""
        cases = self.recipe.cases
        wanted = Wanted(
            cases.rated_per_task, cases.train_per_task, cases.bench_per_task, cases.rated_share, cases.bench_share
        )
        return read_splits(self.out / FOLDER, self._build_candidates, self.seed, wanted)

    def _build_candidates(self) -> list[Case]:
        from hpedit.cases.build import run_build
        from hpedit.cases.folder import CasesFolder

        recipe = self.recipe.candidates()
        # Nothing depends on it yet: what an earlier recipe or other photographs gave is made again.
        run_build(recipe, update=True)
        editor = None
        usable: list[Case] = []
        for case in CasesFolder(recipe.output).kept():
            if max(max(image.size) / min(image.size) for image in case.sources) > SQUARISH:
                editor = editor or self.editor
                if why := _refusal(editor, case):
                    note(f"{case.id} is left out: {why}")
                    continue
            usable.append(case)
        return usable

    def _cases(self) -> None:
        if self.world is None:
            splits = self.splits
            # A run of an earlier version that is past this stage keeps its splits.
            checked = (self.out / FOLDER / CHECKED).is_file()
            begun = (self.out / ratings.FOLDER / ratings.EDITS).is_file() and not checked
            dropped = "" if begun else keep_apart(splits, drop=self.recipe.bench.leaked == "drop")
            parts = [f"{name}: {counts_of(table)}" for name, table in splits.items()]
            parts += [dropped] if dropped else []
            self.note.note = "; ".join([*parts, *build_notes(self.out / "candidates")])
            return
        folder, cases = self.out / FOLDER, self.recipe.cases
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {RATED: ("calibration", cases.rated_per_task), BENCH: ("bench", cases.bench_per_task)}
        for name, (split, per_task) in wanted.items():
            if not (folder / f"{name}.parquet").is_file():
                write_cases(folder / f"{name}.parquet", self.world.cases(split, per_task, self.seed))
        self.note.note = "scenes with exact targets, split by photograph"

    def _split(self, name: str) -> list[Case]:
        return read_cases(self.out / FOLDER / f"{name}.parquet")

    def _edits(self) -> None:
        """The base's edits of the rated cases, each turn with noise of its own."""
        folder = self.out / ratings.FOLDER
        if self.recipe.ratings.run is not None:
            ratings.take_from_run(folder, Path(self.recipe.ratings.run))
            self.note.note = f"those of {self.recipe.ratings.run}"
            return
        settings, cases = self.recipe.cases.edits, self._split(RATED)
        if not (folder / ratings.EDITS).is_file():
            made = ratings.edit_for_rating(
                self.out / ratings.EDITED, self.editor, cases, seed=self.seed, steps=self.recipe.edit_steps,
                per_case=settings.per_rated, batch=settings.batch,
            )  # fmt: skip
            ratings.write_rated(folder, cases, made)
        self.note.note = f"{len(cases) * settings.per_rated} edits of {len(cases)} cases"

    def _ratings(self) -> None:
        self.note.note = ratings.collect_ratings(self.out / ratings.FOLDER, self.recipe.ratings, self.seed, tell)

    def _scorer(self) -> None:
        """Fit and probe the scorer, and compare it with the raters."""
        from hpedit.pipeline.scorer import prepare_scorer

        self.__dict__["scorer"] = prepare_scorer(
            self.out / "scorer", self.rated, self.recipe.judge, self.recipe.scorer, seed=self.seed
        )
        pearson = self._compared().report["pearson"]
        self.note.note = f"Pearson with raters {pearson['value']:.2f} on photographs that the fit never saw"

    def _compared(self) -> Compared:
        from hpedit.pipeline.scorer import compare_with_raters

        return compare_with_raters(self.out, self.scorer, self.rated, self.seed)

    def _hard_cases(self) -> None:
        """The training cases that the base editor does not yet solve."""
        from hpedit.cases.build import run_build

        table = None if self.world else self.splits[TRAIN]
        begun = (self.out / "train" / "recipe.json").is_file()
        run_build(self.recipe.hard_cases(table), editor=self.editor, scorer=self.scorer, update=not begun)
        kept = read_json(self.out / "cases" / "result.json")
        self.note.note = f"{kept['kept']} of {kept['candidates']} candidates kept"

    def _hard(self) -> list[Case]:
        from hpedit.cases.folder import CasesFolder

        return list(CasesFolder(self.out / "cases").kept())

    def _train(self) -> None:
        """Online RL on the hard cases; leaves train/lora."""
        from hpedit.report.train_page import write_train_page
        from hpedit.rl.trainer import train

        result = train(self.recipe.training(), editor=self.editor, cases=self._hard(), scorer=self.scorer)
        self.training = result.metrics
        write_train_page(self.out / "train", command=self.command)
        self.note.note = f"{self.recipe.train.iterations} iterations of {self.recipe.train.algorithm}"

    def _control(self) -> None:
        """LoRAs trained by supervision, and with a reward that knows nothing."""
        from hpedit.pipeline.controls import train_controls

        train_controls(self.out, self.editor, self._hard(), self.recipe.training())

    def _bench(self) -> None:
        """What base, post-trained and control make of the held-out cases."""
        from hpedit.bench.benchmark_run import run_bench

        cases = self._split(BENCH)
        (self.out / "bench").mkdir(parents=True, exist_ok=True)
        if not (self.out / "bench" / "cases.parquet").is_file():
            write_cases(self.out / "bench" / "cases.parquet", cases)
        steps, cfg = self._deployed()
        editor, second = self.editor.with_guidance(cfg), self._second_judge()
        arms = ARMS if self.recipe.control else ARMS[:2]
        for label in arms:
            if label == "base":
                editor.remove_lora()
            else:
                editor.load_lora(self.out / {"post": "train", "control": "control"}[label] / "lora")
            self.folders[label] = run_bench(
                editor, cases, self.scorer, self.out / "bench" / label, seed=self.seed, steps=steps, label=label,
                batch=self.recipe.bench.batch, instruments=second,
            )  # fmt: skip
        self.note.note = f"{len(cases)} held-out cases, {steps} steps, CFG {cfg:g}"
        if self.recipe.control:
            from hpedit.pipeline.controls import bench_controls

            self.beside = bench_controls(
                self.out, editor, cases, self.scorer, seed=self.seed, steps=steps, batch=self.recipe.bench.batch
            )
        if second:
            from hpedit.report.bench_compare import compare_folders

            bench = self.out / "bench"
            compare_folders(
                [bench / label for label in arms],
                bench / "compare",
                cases=bench / "cases.parquet",
                command=self.command,
            )
            self.note.note += f", seen by a second judge, {second[0][0].name}"

    def _second_judge(self) -> list[tuple[Instrument, Scorer]]:
        """The judge that took no part in training, if the recipe names one."""
        from hpedit.bench.commands import second_instrument

        spec = self.recipe.bench.second_judge
        if spec is None:
            return []
        return [second_instrument(spec, {judge.fingerprint for judge in self.scorer.judges.values()})]

    def _deployed(self) -> tuple[int, float]:
        """Steps and guidance of the benchmark: the recipe's, else the model's own; in a mini world the best steps.

        A benchmark that was begun by 0.2.0, which took those of the rollout, keeps them.
        """
        usual, begun = self.editor.usual, self.out / "bench" / ARMS[0] / "recipe.json"
        steps, cfg = usual.steps, usual.cfg
        if begun.is_file():
            there = read_json(begun)["recipe"]
            with self.editor.lora_disabled():
                steps, cfg = there["steps"], self.editor.cfg if there["editor"] == self.editor.fingerprint else cfg
        elif self.recipe.control and self.recipe.bench.steps is None:
            from hpedit.pipeline.controls import best_steps

            self.editor.remove_lora()
            steps = best_steps(self.out / "bench", self.editor, self._split(RATED), self.seed)
        return self.recipe.bench.steps or steps, self.recipe.bench.cfg or cfg

    def _report(self) -> None:
        from hpedit.pipeline.report import Finished, write_run_report

        with self.editor.lora_disabled():
            base = self.editor.fingerprint
        self.summary = write_run_report(
            Finished(
                self.recipe, self.world, self.command, base, self.scorer.fingerprint, self._compared(),
                self._split(BENCH), self.folders, self.training, self.beside,
            )
        )  # fmt: skip


def _refusal(editor: DiffusersEditor, case: Case) -> str:
    """Why the editor does not take a case's pictures; "" if it does."""
    try:
        for image in case.sources:
            editor.output_size(image)
    except HPEditError as error:
        return error.message
    return ""


def _few_threads() -> None:
    """On a CPU, two threads at most: more are slower on matrices as small as the miniature's."""
    import torch

    if not torch.accelerator.is_available():
        torch.set_num_threads(min(2, os.cpu_count() or 1))
