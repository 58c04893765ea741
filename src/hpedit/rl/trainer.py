"""Post-training: a LoRA on an image editor learns from rewards or preferences (HP-Edit, arXiv 2604.19406).

How it departs from Flow-GRPO (arXiv 2505.05470), its default:

1. Only a window of the sampling steps is stochastic and trained on; it is shared by a group (MixGRPO, 2507.21802).
2. No guidance: with it a public trainer of edits collapses.
3. The reward is r = sigmoid(2 score - 5) of a score on the human scale, and an edit that could not be scored has none.
4. The KL's reference is the editor with its LoRA switched off, and no reference is run at weight 0.

An iteration belongs to a learner: `online.Online` (cases -> groups of edits -> rewards -> advantages -> update by one
of `algorithms.ALGORITHMS`) or `offline.Offline` (rated pairs -> update). Every draw is a function of (seed, iteration,
group, member), and a checkpoint holds all else (`saves`): a run that is killed and started again with the same command
ends in the same weights, bit for bit, as one that never was. What is exported is the average (`train.ema`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hpedit.cases.folder import CasesFolder
from hpedit.cases.pairs.table import read_pairs
from hpedit.config import Recipe
from hpedit.editors.locate import model_name
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.progress import stage
from hpedit.records import Case
from hpedit.rl import stopping
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.distributed import open_world
from hpedit.rl.faulty import FaultyStepError, keep_batch
from hpedit.rl.offline import Offline
from hpedit.rl.online import Online
from hpedit.rl.policy import Policy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.rng import forked, restore_rng, rng_tensors
from hpedit.rl.sample_grids import SampleGrids
from hpedit.rl.sampler import CaseSampler
from hpedit.rl.saves import Saves
from hpedit.rl.seeds import derive_seed
from hpedit.rl.sharding import denoiser, forwards_marked, shard, wants_shards
from hpedit.rl.stopping import StopAsked
from hpedit.rl.tracking import Tracker
from hpedit.rl.watch import Observer
from hpedit.rl.world import World, check_equal, check_shares
from hpedit.scorer.probes.gate import PROBE_FILES, admit_reward
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import naming_disk, read_jsonl
from hpedit.store.run_folder import METRICS, RunFolder, hash_path

NO_PART_OF_THE_RESULT = ("output", "scorer_force", "scale")
"""Keys of a recipe with which a run may be continued otherwise than it was begun."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left behind."""

    folder: Path
    """The run's folder: recipe, metrics.jsonl, grids, checkpoints."""
    lora: Path
    """Folder for `pipe.load_lora_weights` and `QwenImageEdit.load(lora=...)`."""
    iterations: int
    metrics: list[dict[str, Any]]
    """One record an iteration, as in metrics.jsonl; empty in all processes but rank 0."""


def train(
    recipe: Recipe,
    *,
    editor: TrainableEditor | None = None,
    cases: Sequence[Case] | None = None,
    scorer: Scorer | None = None,
    resume: bool = False,
) -> TrainResult:
    """Run, or continue, the training that `recipe` describes; a finished one returns its result at once.

    Args:
        recipe: Where editor, cases or scorer are passed in, its paths for them are not read.
        editor: Gets a fresh LoRA in place of one that it may have, and comes back with the trained one.
        cases: Training cases; several with equal sources and instruction count as one.
        scorer: The main reward.
        resume: Fail if there is no checkpoint to continue from.

    Raises:
        HPEditError: the recipe does not fit the cases or the number of processes, the folder holds another run, a
            scorer failed its probe, a first ratio is off 1, a loss is not finite, or too many edits can't be scored.
        StopAsked: SIGINT or SIGTERM came; a checkpoint was written. Not an Exception.
    """
    if recipe.rollout.cfg != 1.0:
        raise HPEditError("rollout.cfg is not 1", hint="guidance is not supported here: it makes the training collapse")
    with open_world(recipe, editor.device if editor else None) as world, ExitStack() as stack:
        uneven = check_shares(world, recipe.rollout.groups)
        # Rank 0 alone has the folder; where it fails, the watchdog ends the others.
        run = stack.enter_context(_open_folder(recipe, editor, cases, scorer)) if world.rank == 0 else None
        if run and uneven:
            run.log(uneven)
        done = world.gather(run.done if run else None)[0]
        if not done:
            stopping.progress("loading")
            editor = editor or _load_editor(recipe)
            if recipe.offline:
                cases = []
            elif cases is None:
                cases = _load_cases(recipe.cases)
            _Training(recipe, world, run, editor, cases, scorer).run(resume)
        elif editor is not None:
            editor.load_lora(Path(recipe.output) / "lora")
        iterations = world.gather(run.result()["iterations"] if run else None)[0]
        assert iterations is not None
        folder = Path(recipe.output)
        return TrainResult(folder, folder / "lora", int(iterations), read_jsonl(folder / METRICS) if run else [])


def _open_folder(
    recipe: Recipe, editor: TrainableEditor | None, cases: Sequence[Case] | None, scorer: Scorer | None
) -> RunFolder:
    asked = {key: value for key, value in recipe.resolved().items() if key not in NO_PART_OF_THE_RESULT}
    return RunFolder.open(recipe.output, "train", asked, _inputs(recipe, editor, cases, scorer))


class _Training:
    """One run from its last checkpoint to its end; it lives for one call of `run`."""

    def __init__(
        self,
        recipe: Recipe,
        world: World,
        run: RunFolder | None,
        editor: TrainableEditor,
        cases: Sequence[Case],
        scorer: Scorer | None,
    ) -> None:
        self.recipe, self.world, self.folder, self.editor = recipe, world, run, editor
        self.cases = list({case.group_key: case for case in cases}.values())
        pairs = list(read_pairs(recipe.dpo.pairs)) if recipe.dpo.pairs and recipe.offline else []
        _check_enough(len(pairs) if recipe.offline else len(self.cases), recipe)
        editor.add_lora(recipe.lora, derive_seed(recipe.seed, "lora"))
        self.policy = Policy(editor, recipe.train)
        setting = Setting(recipe, editor, self.policy, recomputes=editor.device.type == "cuda")
        if wants_shards(recipe):
            lockstep = shard(editor, pairs[0].case if pairs else self.cases[0], world)
            setting = replace(setting, backward=lockstep.backward) if lockstep else setting
        self.sampler = CaseSampler(len(pairs) if recipe.offline else len(self.cases), recipe.seed)
        self.learner: Online | Offline
        if recipe.offline:
            self.learner = Offline(setting, pairs, self.sampler, self.world)
        else:
            self.learner = Online(setting, self.cases, _load_rewards(recipe, scorer), self.sampler, self.world)
        self.saves = Saves(run, recipe.checkpoint, recipe.seed, world)

    def run(self, resume: bool = False) -> None:
        """Train to the end and export; disk and signals are dealt with here."""
        recipe, total = self.recipe, self.recipe.train.iterations
        with ExitStack() as stack:
            stack.enter_context(naming_disk(recipe.output))
            stack.enter_context(forked())
            stack.enter_context(stopping.listening())
            stack.enter_context(forwards_marked(denoiser(self.editor)))
            start = self.saves.resume(self.policy, self.learner, self.sampler, required=resume)
            tracker, observers = None, []
            if self.folder:
                self.folder.drop_metrics_after(start)
                self.folder.drop_iterations_after(start)
                tracker = Tracker(self.folder.path / "tensorboard", enabled=recipe.log.tensorboard, step=start)
                stack.callback(tracker.close)
                observers = self._observers()
                advance = stack.enter_context(stage("post-train", total, done=start))
            for iteration in range(start, total):
                record = {"step": iteration + 1, **self._iterate(iteration)}
                self.policy.update_average(iteration)
                for observer in observers:
                    record |= observer.after(iteration, self.learner.last)
                if self.folder and tracker:
                    self.folder.metrics(record)
                    tracker.log(iteration + 1, record)
                    advance(1)
                self._finish(iteration + 1)
        self.policy.take_average()
        if self.folder:
            self.editor.save_lora(self.folder.path / "lora")
            self.folder.finish({"iterations": total, "lora": "lora", "editor": self.editor.fingerprint})

    def _iterate(self, iteration: int) -> dict[str, Any]:
        """One iteration's record; where it is abandoned, a checkpoint of the state before it."""
        cursor, rng = self.sampler.cursor, rng_tensors()
        try:
            record = self.learner.iterate(iteration)
        except StopAsked as stop:
            self.sampler.cursor = cursor
            restore_rng(rng)
            self._stop(iteration, stop)
        except FaultyStepError as error:
            made, pairs = self.learner.last, getattr(self.learner, "ids", ())
            kept = keep_batch(Path(self.recipe.output), iteration, self.world.rank, error, made, pairs)
            self.world.gather(None)  # the first to fail ends all: let them write
            raise FaultyStepError(f"{error.message}; the batch is kept in {kept}", hint=error.hint) from error
        stopping.commit()
        return record

    def _finish(self, done: int) -> None:
        """Save where it is time, and stop where that was asked."""
        signum, total = stopping.asked(), self.recipe.train.iterations
        if done % self.recipe.checkpoint.every == 0 or done == total:
            check_equal(self.world, self.policy.parameters)
            self.saves.save(done, self.policy, self.learner, self.sampler)
        stopping.release()
        if signum is not None and done < total:
            self._stop(done, StopAsked(signum))

    def _stop(self, done: int, stop: StopAsked) -> NoReturn:
        if done:
            self.saves.save(done, self.policy, self.learner, self.sampler)
        stop.advice = f"stopped by {stop} after iteration {done} of {self.recipe.train.iterations}"
        if self.folder:
            self.folder.log(stop.advice)
        raise stop

    def _observers(self) -> list[Observer]:
        found: list[Observer] = []
        if self.recipe.log.grid_every and self.cases:
            found.append(SampleGrids(Path(self.recipe.output) / "grids", self.editor, self.cases, self.recipe))
        return found


def _inputs(
    recipe: Recipe, editor: TrainableEditor | None, cases: Sequence[Case] | None, scorer: Scorer | None
) -> dict[str, str]:
    """What a run reads, by content."""
    inputs = {
        "editor": _base_fingerprint(editor) if editor else model_name(recipe.editor.model, recipe.editor.revision)
    }
    if recipe.offline:
        assert recipe.dpo.pairs is not None
        return inputs | {"pairs": hash_path(recipe.dpo.pairs)}
    inputs["cases"] = _cases_hash(cases) if cases is not None else CasesFolder(recipe.cases).fingerprint()
    inputs[MAIN] = scorer.fingerprint if scorer else hash_path(recipe.scorer, PROBE_FILES)
    return inputs | {reward.name: hash_path(reward.scorer, PROBE_FILES) for reward in recipe.rewards}


def _check_enough(count: int, recipe: Recipe) -> None:
    if count < recipe.rollout.groups:
        what = "pairs" if recipe.offline else "different training cases"
        raise HPEditError(
            f"{count} {what} are too few for {recipe.rollout.groups} groups",
            hint=f"set rollout.groups to at most {count}, or build more",
        )


def _base_fingerprint(editor: TrainableEditor) -> str:
    with editor.lora_disabled():
        return editor.fingerprint


def _cases_hash(cases: Sequence[Case]) -> str:
    return hashlib.sha256("\n".join(f"{case.id} {case.group_key}" for case in cases).encode()).hexdigest()


def _load_editor(recipe: Recipe) -> TrainableEditor:
    from hpedit.editors.qwen_image_edit import QwenImageEdit

    wanted = recipe.editor
    cache = Path(recipe.output) / "conditioning"
    return QwenImageEdit.load(
        wanted.model, wanted.revision, wanted.dtype, wanted.resolution, wanted.device, cache=cache
    )


def _load_cases(path: str) -> list[Case]:
    return list(CasesFolder(path).kept())


def _load_rewards(recipe: Recipe, scorer: Scorer | None) -> Rewards:
    """The recipe's scorer, or the one passed in, and its further rewards."""
    scorers = {MAIN: scorer or _load_scorer(recipe.scorer, recipe.scorer_force)}
    scorers |= {reward.name: _load_scorer(reward.scorer, recipe.scorer_force) for reward in recipe.rewards}
    return Rewards(scorers, {MAIN: 1.0, **{reward.name: reward.weight for reward in recipe.rewards}})


def _load_scorer(path: str, force: bool) -> Scorer:
    from hpedit.scorer.hp_scorer import HPScorer

    fitted = HPScorer.load(path)
    if fitted.calibration.verdict != "ok" and not force:
        raise HPEditError(
            f"the scorer {path} has no signal and is refused as a reward: {fitted.calibration.reason}",
            hint="rate more edits or take another judge, or set scorer_force: true",
        )
    admit_reward(path, fitted.fingerprint, force=force)
    scorer: Scorer = fitted
    return scorer
