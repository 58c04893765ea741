"""`hpedit cases build`: build a dataset of hard cases from photographs, stage by stage.

1-photos    decode the sources                              2-unique   deduplication, leakage of benchmarks
3-labels    the main object of each photograph              4-drafts   instruction candidates
5-balance   choose candidate cases, into candidates/        6-edits    the base editor's edits of each; 6-scores
7-filter    keep the hard cases                             8-dataset  parquet shards and card, in dataset/

A stage either maps over chunks, each with its own file, or decides about everything from an index without pictures. So
a kill loses only the chunks in progress, memory grows only with that index, and the same command resumes the build.
Results depend only on recipe and inputs: two builds are equal byte for byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpedit.cases import stage_io, steps
from hpedit.cases.build_stages import (
    LoadedModels,
    Stage,
    full_model_path,
    place_editor,
    plan_stages,
    refuse_stale_stages,
)
from hpedit.cases.dataset.assemble import assemble_dataset
from hpedit.cases.decisions import decide_balance, decide_filter, decide_unique
from hpedit.cases.engine import load_engine
from hpedit.cases.engine.protocol import Engine, LocalEngine
from hpedit.cases.exclusion import NEAR, Exclusion
from hpedit.cases.recipe import CasesRecipe
from hpedit.cases.source_items import Chunk
from hpedit.cases.sources import OpenedSource, open_source
from hpedit.cases.summary import first_skipped, instruction_counts, label_counts, missing_tasks, write_build_summary
from hpedit.config.reading import Section, recipe_text
from hpedit.errors import HPEditError
from hpedit.progress import note
from hpedit.progress import stage as progress
from hpedit.store.atomic import atomic_write
from hpedit.store.run_folder import RESULT, RunFolder

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer

RECIPE = "recipe.yaml"
S = TypeVar("S", bound=Section)


def run_build(
    recipe: CasesRecipe,
    *,
    engine: str = "local",
    workers: int | None = None,
    update: bool = False,
    base: Path | None = None,
    editor: Editor | None = None,
    scorer: Scorer | None = None,
) -> dict[str, Any]:
    """Build the cases of a recipe, resume the build, or return the counts of a finished one.

    Args:
        recipe: Everything that determines the cases.
        engine: "local" or "ray"; the result is the same.
        workers: Processes of ray.
        update: Rebuild stale stages instead of refusing.
        base: Folder that the recipe's paths are relative to; None = the working directory.
        editor: Used instead of `edits.editor`; local engine only.
        scorer: Used instead of `filter.scorer`; local engine only.

    Raises:
        HPEditError: an input is missing, the output holds another build, or no case is left.
    """
    if engine != "local" and (editor is not None or scorer is not None):
        raise HPEditError(f"{engine} cannot use an editor or scorer of this process", hint="name them in the recipe")
    base = (base or Path.cwd()).resolve()
    out = base / recipe.output
    sources = [open_source(section, n, base, recipe.seed) for n, section in enumerate(recipe.sources)]
    with RunFolder.open(out, "cases", {}) as run:
        given = LoadedModels(editor, scorer)
        stages = plan_stages(recipe, out, base, [source.fingerprint() for source in sources], given)
        removed = refuse_stale_stages(stages, update=update, before=lambda: (out / RESULT).unlink(missing_ok=True))
        for name in removed:
            run.log(f"stale, rebuilt: {name}")
        if not run.done:
            atomic_write(out / RECIPE, recipe_text(recipe))
            _Build(recipe, base, out, sources, stages, run, lambda: load_engine(engine, workers), given).run()
        return run.result()


@dataclass(slots=True)
class _Build:
    """One run of a build."""

    recipe: CasesRecipe
    base: Path
    out: Path
    sources: Sequence[OpenedSource]
    stages: Sequence[Stage]
    folder: RunFolder
    start: Callable[[], Engine]
    given: LoadedModels
    engine: Engine | None = None

    def run(self) -> None:
        """Run the unfinished stages."""
        work = [self._photos, self._unique, self._labels, self._instructions, self._balance]
        work += [self._edits, self._scores, self._filter, self._dataset]
        for stage, do in zip(self.stages, work, strict=True):
            if not stage.done:
                stage.begin()
                began = time.monotonic()
                counts = do()
                self.folder.metrics({"stage": stage.name, "seconds": time.monotonic() - began, "counts": counts})
                stage.finish(counts)
            _refuse_nothing(stage)
        self.folder.finish(write_build_summary(self.out, self.stages, self.recipe.seed))

    def _map(self, name: str, task: Any, chunks: Sequence[Any], *, light: bool = False) -> None:
        """Process the chunks without a file; `light` work stays local, since sending it would take longer."""
        left = [chunk for chunk in chunks if not task.file(chunk).exists()]
        with progress(name, total=len(chunks), done=len(chunks) - len(left)) as advance:
            if not left:
                return
            if self.engine is None and not light:
                self.engine = self.start()
            engine = LocalEngine() if light or self.engine is None else self.engine
            items, began = 0, time.monotonic()
            for counts in engine.map(task, left):
                items += counts["items"]
                advance(1)
        # Besides the stage's own record: what this run did of it, for the speed.
        self.folder.metrics({"map": name, "items": items, "seconds": time.monotonic() - began})

    def _placed(self, section: S, *names: str) -> S:
        """A section with full paths of model folders."""
        found = {name: getattr(section, name) for name in names}
        return section.model_copy(
            update={name: value and full_model_path(value, self.base) for name, value in found.items()}
        )

    def _photos(self) -> dict[str, Any]:
        chunks: list[Chunk] = [chunk for source in self.sources for chunk in source.chunks(stage_io.CHUNK)]
        task = steps.ReadPhotos(self.recipe.sources, self.base, self.recipe.seed, self.out)
        self._map("photographs", task, chunks)
        if skipped := first_skipped(self.out):
            self.folder.log(skipped)
            note(skipped)
        return {"chunks": len(chunks)}

    def _unique(self) -> dict[str, Any]:
        section = self.recipe.duplicates
        # Resized benchmark pictures stay out even if the build keeps its own near duplicates.
        exclusion = Exclusion.of([self.base / path for path in section.exclude], section.near or NEAR)
        return decide_unique(self.out, section.near, exclusion)

    def _numbers(self) -> range:
        """Numbers of the files of photographs."""
        return range(len(stage_io.chunk_files(self.out / steps.PHOTOS)))

    def _labels(self) -> dict[str, Any]:
        task = steps.LabelPhotos(self.out, self._placed(self.recipe.labels, "model"))
        self._map("labels", task, self._numbers(), light=not task.models)
        return label_counts(self.out)

    def _instructions(self) -> dict[str, Any]:
        recipe = self.recipe
        section = self._placed(recipe.instructions, "model")
        task = steps.WriteInstructions(self.out, section, recipe.labels.categories, self.base, recipe.seed)
        self._map("instructions", task, self._numbers(), light=not task.models)
        counts = instruction_counts(self.out)
        if missing := missing_tasks(recipe, self.out, counts["tasks"]):
            self.folder.log(missing)
            note(missing)
            counts["missing"] = missing
        return counts

    def _balance(self) -> dict[str, Any]:
        counts = decide_balance(self.out, self.recipe.balance, self.recipe.seed)
        chunks = -(-counts["candidates"] // stage_io.CHUNK)
        self._map("candidates", steps.MakeCandidates(self.out), range(chunks))
        return counts | {"chunks": chunks}

    def _candidate_chunks(self) -> range:
        return range(self.stages[4].counts()["chunks"])

    def _edits(self) -> dict[str, Any]:
        section = self.recipe.edits
        if section.editor is None and self.given.editor is None:
            return {}
        section = self._placed(section, "lora")
        if section.editor is not None:
            section = section.model_copy(update={"editor": place_editor(section.editor, self.base)})
        task = steps.EditCandidates(self.out, section, self.recipe.seed, self.given.editor)
        self._map("edits", task, self._candidate_chunks())
        return {"edits": self.stages[4].counts()["candidates"] * section.per_case}

    def _scores(self) -> dict[str, Any]:
        folder = self.recipe.filter.scorer
        edited = self.recipe.edits.editor is not None or self.given.editor is not None
        if not edited or (folder is None and self.given.scorer is None):
            return {}
        batch = self.recipe.edits.batch
        task = steps.ScoreEdits(self.out, self.base / folder if folder else None, batch, self.given.scorer)
        self._map("scores", task, self._candidate_chunks())
        return {"scores": self.stages[5].counts()["edits"]}

    def _filter(self) -> dict[str, Any]:
        return decide_filter(self.out, self.recipe.filter, len(self._candidate_chunks()))

    def _dataset(self) -> dict[str, Any]:
        assemble_dataset(self.out, self.stages, self.recipe)
        return {}


def _refuse_nothing(stage: Stage) -> None:
    """HPEditError if a stage left nothing for the next ones."""
    counts = stage.counts()
    if stage.name == steps.UNIQUE and not counts.get("kept"):
        why = _why_no_photo(stage, counts)
        raise HPEditError(f"the sources contain no usable photograph: {why}", hint="see sources in the recipe")
    if stage.name == steps.BALANCE and not counts["candidates"]:
        found = f"no candidate is left of {counts['drafts']} instructions{_why_rejected(stage.out)}"
        raise HPEditError(found, hint="see instructions and balance in the recipe")
    if stage.name == steps.FILTER and not counts["kept"]:
        found = "every case is already solved, impossible or unscorable: nothing is left to train on"
        raise HPEditError(found, hint="build more or harder cases")


def _why_rejected(out: Path) -> str:
    """The most frequent reason for rejected instructions, if any."""
    files = stage_io.chunk_files(out / steps.INSTRUCTIONS)
    reasons = Counter(
        row["reason"] for file in files for row in stage_io.read_chunk(file, ("reason",)) if row["reason"]
    )
    if not reasons:
        return ""
    (reason, count), *_ = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"; of {reasons.total()} rejected ones {count} since {reason}"


def _why_no_photo(stage: Stage, counts: dict[str, Any]) -> str:
    if counts.get("photos"):
        return f"all {counts['photos']} are excluded"
    for path in stage_io.chunk_files(stage.out / steps.PHOTOS):
        for row in stage_io.read_chunk(path, ("id", "reason")):
            if row["reason"] is not None:
                return f"{counts.get('skipped', 0)} were skipped, as {row['id']}: {row['reason']}"
    return "they are empty"
