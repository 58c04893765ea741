"""`hpedit cases build`: from photographs to a dataset of hard cases, stage by stage.

1-photos    decode the sources, chunk by chunk              2-unique   drop duplicates and what a bench holds
3-labels    the main object of each photograph              4-drafts   instructions for it
5-balance   which of them become candidates/                6-edits    the base editor's edits of each; 6-scores
7-filter    which are hard                                  8-dataset  the shards and their card, in dataset/

A stage either maps over chunks, each with a file of its own, or decides about everything from an index without
pixels. So a kill loses the chunks in work, memory does not grow with the photographs but for that index, and the same
command continues. What the stages write depends on recipe and inputs alone: two builds are equal byte for byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpedit.cases import parts, steps
from hpedit.cases.dataset.assemble import write_out
from hpedit.cases.decisions import decide_balance, decide_fates, decide_unique
from hpedit.cases.engine import engine_of
from hpedit.cases.engine.local import LocalEngine
from hpedit.cases.engine.protocol import Engine
from hpedit.cases.exclusion import NEAR, Exclusion
from hpedit.cases.photos import Chunk
from hpedit.cases.plan import Given, placed, plan
from hpedit.cases.recipe import CasesRecipe
from hpedit.cases.sources import OpenedSource, open_source
from hpedit.cases.stages import Stage, refuse_stale
from hpedit.cases.summary import draft_counts, label_counts, write_outcome
from hpedit.config.reading import Section, recipe_text
from hpedit.errors import HPEditError
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
    """Build the cases of a recipe, or continue to, or return the counts of what is already there.

    Args:
        recipe: All that shapes the cases.
        engine: "local" or "ray"; the result is the same.
        workers: Processes of ray.
        update: Make stale stages anew instead of refusing.
        base: What the recipe's paths are relative to; None = the working directory.
        editor: Edits instead of `edits.editor`; local engine alone.
        scorer: Scores instead of the scorer in `filter.scorer`; local engine alone.

    Raises:
        HPEditError: something that the recipe names can't be had, the output holds another build, or nothing is left.
    """
    if engine != "local" and (editor is not None or scorer is not None):
        raise HPEditError(f"an editor or scorer in this process is of no use to {engine}", hint="name them instead")
    base = (base or Path.cwd()).resolve()
    out = base / recipe.output
    sources = [open_source(section, n, base, recipe.seed) for n, section in enumerate(recipe.sources)]
    with RunFolder.open(out, "cases", {}) as run:
        given = Given(editor, scorer)
        stages = plan(recipe, out, base, [source.fingerprint() for source in sources], given)
        removed = refuse_stale(stages, update=update, before=lambda: (out / RESULT).unlink(missing_ok=True))
        for name in removed:
            run.log(f"stale, made anew: {name}")
        if not run.done:
            atomic_write(out / RECIPE, recipe_text(recipe))
            _Build(recipe, base, out, sources, stages, run, lambda: engine_of(engine, workers), given).run()
        return run.result()


@dataclass(slots=True)
class _Build:
    """One sitting."""

    recipe: CasesRecipe
    base: Path
    out: Path
    sources: Sequence[OpenedSource]
    stages: Sequence[Stage]
    folder: RunFolder
    start: Callable[[], Engine]
    given: Given
    engine: Engine | None = None

    def run(self) -> None:
        """Do the stages that are not done."""
        work = (
            self._photos,
            self._unique,
            self._labels,
            self._drafts,
            self._balance,
            self._edits,
            self._scores,
            self._filter,
            self._dataset,
        )
        for stage, do in zip(self.stages, work, strict=True):
            if not stage.done:
                stage.begin()
                began = time.monotonic()
                counts = do()
                self.folder.metrics({"stage": stage.name, "seconds": time.monotonic() - began, "counts": counts})
                stage.finish(counts)
            _refuse_nothing(stage)
        self.folder.finish(write_outcome(self.out, self.stages, self.recipe.seed))

    def _map(self, name: str, task: Any, chunks: Sequence[Any], *, light: bool = False) -> None:
        """Do the chunks that have no file yet; what is light takes longer to hand out than to do."""
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
        # Beside the stage's own record: what this sitting has done of it, for the speed.
        self.folder.metrics({"map": name, "items": items, "seconds": time.monotonic() - began})

    def _placed(self, section: S, *names: str) -> S:
        """A section with the folders of models by their full paths."""
        found = {name: getattr(section, name) for name in names}
        return section.model_copy(update={name: value and placed(value, self.base) for name, value in found.items()})

    def _photos(self) -> dict[str, Any]:
        chunks: list[Chunk] = [chunk for source in self.sources for chunk in source.chunks(parts.CHUNK)]
        task = steps.ReadPhotos(self.recipe.sources, self.base, self.recipe.seed, self.out)
        self._map("photographs", task, chunks)
        return {"chunks": len(chunks)}

    def _unique(self) -> dict[str, Any]:
        section = self.recipe.duplicates
        # A bench stays out though its pictures were resized, whatever the build thinks of its own.
        exclusion = Exclusion.of([self.base / path for path in section.exclude], section.near or NEAR)
        return decide_unique(self.out, section.near, exclusion)

    def _numbers(self) -> range:
        """The files of photographs."""
        return range(len(parts.part_files(self.out / steps.PHOTOS)))

    def _labels(self) -> dict[str, Any]:
        task = steps.LabelPhotos(self._placed(self.recipe.labels, "model"), self.out)
        self._map("labels", task, self._numbers(), light=not task.models)
        return label_counts(self.out)

    def _drafts(self) -> dict[str, Any]:
        recipe = self.recipe
        section = self._placed(recipe.instructions, "model")
        task = steps.WriteDrafts(section, recipe.labels.categories, self.base, recipe.seed, self.out)
        self._map("instructions", task, self._numbers(), light=not task.models)
        return draft_counts(self.out)

    def _balance(self) -> dict[str, Any]:
        counts = decide_balance(self.out, self.recipe.balance, self.recipe.seed)
        chunks = -(-counts["candidates"] // parts.CHUNK)
        self._map("candidates", steps.MakeCandidates(self.out), range(chunks))
        return counts | {"chunks": chunks}

    def _candidate_chunks(self) -> range:
        return range(self.stages[4].counts()["chunks"])

    def _edits(self) -> dict[str, Any]:
        section = self.recipe.edits
        if section.editor is None and self.given.editor is None:
            return {}
        task = steps.EditCandidates(
            self._placed(section, "editor", "lora"), self.recipe.seed, self.out, self.given.editor
        )
        self._map("edits", task, self._candidate_chunks())
        return {"edits": self.stages[4].counts()["candidates"] * section.per_case}

    def _scores(self) -> dict[str, Any]:
        folder = self.recipe.filter.scorer
        edited = self.recipe.edits.editor is not None or self.given.editor is not None
        if not edited or (folder is None and self.given.scorer is None):
            return {}
        batch = self.recipe.edits.batch
        task = steps.ScoreEdits(self.base / folder if folder else None, batch, self.out, self.given.scorer)
        self._map("scores", task, self._candidate_chunks())
        return {"scores": self.stages[5].counts()["edits"]}

    def _filter(self) -> dict[str, Any]:
        return decide_fates(self.out, self.recipe.filter, len(self._candidate_chunks()))

    def _dataset(self) -> dict[str, Any]:
        write_out(self.out, self.stages, self.recipe)
        return {}


def _refuse_nothing(stage: Stage) -> None:
    """HPEditError if a stage has left nothing for the ones after it."""
    counts = stage.counts()
    if stage.name == steps.UNIQUE and not counts.get("kept"):
        raise HPEditError(
            f"the sources hold no usable photograph: {_why_none(stage, counts)}", hint="see sources in the recipe"
        )
    if stage.name == steps.BALANCE and not counts["candidates"]:
        raise HPEditError(
            f"no candidate is left of {counts['drafts']} instructions{_why_rejected(stage.out)}",
            hint="see instructions and balance in the recipe",
        )
    if stage.name == steps.FILTER and not counts["kept"]:
        raise HPEditError(
            "every case is already solved, impossible or unscorable: nothing is left to train on",
            hint="build more or harder cases",
        )


def _why_rejected(out: Path) -> str:
    """The most frequent reason why an instruction was rejected, if any was."""
    files = parts.part_files(out / steps.DRAFTS)
    reasons = Counter(row["reason"] for file in files for row in parts.read_rows(file, ("reason",)) if row["reason"])
    if not reasons:
        return ""
    (reason, count), *_ = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"; of {reasons.total()} rejected ones {count} since {reason}"


def _why_none(stage: Stage, counts: dict[str, Any]) -> str:
    if counts.get("photos"):
        return f"all {counts['photos']} are excluded"
    for path in parts.part_files(stage.out / steps.PHOTOS):
        for row in parts.read_rows(path, ("id", "reason")):
            if row["reason"] is not None:
                return f"{counts.get('skipped', 0)} were skipped, as {row['id']}: {row['reason']}"
    return "they are empty"
