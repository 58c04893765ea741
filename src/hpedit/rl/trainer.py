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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hpedit.cases.folder import CasesFolder
from hpedit.cases.lazy import lazy_cases
from hpedit.cases.pairs.table import lazy_pairs
from hpedit.config import Recipe
from hpedit.editors.locate import model_name
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.progress import stage
from hpedit.records import Case
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.offline import Offline
from hpedit.rl.online import Online
from hpedit.rl.policy import Policy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.sample_grids import SampleGrids
from hpedit.rl.sampler import CaseSampler
from hpedit.rl.saves import Saves
from hpedit.rl.seeds import derive_seed
from hpedit.rl.tracking import Tracker
from hpedit.rl.watch import Observer
from hpedit.rl.world import Alone, World
from hpedit.scorer.probes.gate import PROBE_FILES, admit_reward
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import read_jsonl
from hpedit.store.lazy import LazyRows
from hpedit.store.run_folder import METRICS, RunFolder, hash_path

CASES_INDEX = "cases_index.json"
"""In the run's folder: which rows of the tables are trained on."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left behind."""

    folder: Path
    """The run's folder: recipe, metrics.jsonl, grids, checkpoints."""
    lora: Path
    """Folder for `pipe.load_lora_weights` and `QwenImageEdit.load(lora=...)`."""
    iterations: int
    metrics: list[dict[str, Any]]
    """One record an iteration, as in metrics.jsonl."""


def train(
    recipe: Recipe,
    *,
    editor: TrainableEditor | None = None,
    cases: Sequence[Case] | None = None,
    scorer: Scorer | None = None,
) -> TrainResult:
    """Run, or continue, the training that `recipe` describes; a finished one returns its result at once.

    Args:
        recipe: Where editor, cases or scorer are passed in, its paths for them are not read.
        editor: Gets a fresh LoRA in place of one that it may have, and comes back with the trained one.
        cases: Training cases; several with equal sources and instruction count as one.
        scorer: The main reward.

    Raises:
        HPEditError: the recipe does not fit the cases, the folder holds another run, a scorer failed its probe, a
            first ratio is off 1, a loss is not finite, or too many edits can't be scored.
    """
    if recipe.rollout.cfg != 1.0:
        raise HPEditError("rollout.cfg is not 1", hint="guidance is not supported here: it makes the training collapse")
    asked = {key: value for key, value in recipe.resolved().items() if key not in ("output", "scorer_force")}
    with RunFolder.open(recipe.output, "train", asked, _inputs(recipe, editor, cases, scorer)) as run:
        if not run.done:
            editor = editor or _load_editor(recipe)
            if recipe.offline:
                cases = []
            elif cases is None:
                cases = lazy_cases(CasesFolder(recipe.cases), run.path / CASES_INDEX)
            _Training(recipe, run, editor, cases, scorer).run()
        elif editor is not None:
            editor.load_lora(run.path / "lora")
        return TrainResult(run.path, run.path / "lora", int(run.result()["iterations"]), read_jsonl(run.path / METRICS))


class _Training:
    """One run from its last checkpoint to its end; it lives for one call of `run`."""

    def __init__(
        self, recipe: Recipe, run: RunFolder, editor: TrainableEditor, cases: Sequence[Case], scorer: Scorer | None
    ) -> None:
        self.recipe, self.folder, self.editor = recipe, run, editor
        self.world: World = Alone()
        # Of lazy cases equal ones are left out already.
        self.cases = cases if isinstance(cases, LazyRows) else list({case.group_key: case for case in cases}.values())
        pairs = lazy_pairs(recipe.dpo.pairs) if recipe.dpo.pairs and recipe.offline else []
        _check_enough(len(pairs) if recipe.offline else len(self.cases), recipe)
        editor.add_lora(recipe.lora, derive_seed(recipe.seed, "lora"))
        self.policy = Policy(editor, recipe.train)
        recomputes = _recomputes(recipe, editor)
        editor.set_checkpointing(recomputes)
        setting = Setting(recipe, editor, self.policy, recomputes)
        self.sampler = CaseSampler(len(pairs) if recipe.offline else len(self.cases), recipe.seed)
        self.learner: Online | Offline
        if recipe.offline:
            self.learner = Offline(setting, pairs, self.sampler, self.world)
        else:
            self.learner = Online(setting, self.cases, _load_rewards(recipe, scorer), self.sampler, self.world)
        self.saves = Saves(run, recipe.checkpoint, recipe.seed)

    def run(self) -> None:
        """Train to the end and export."""
        recipe, total = self.recipe, self.recipe.train.iterations
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng())
            start = self.saves.resume(self.policy, self.learner, self.sampler)
            self.folder.drop_metrics_after(start)
            tracker = Tracker(self.folder.path / "tensorboard", enabled=recipe.log.tensorboard, step=start)
            stack.callback(tracker.close)
            observers = self._observers()
            advance = stack.enter_context(stage("post-train", total, done=start))
            for iteration in range(start, total):
                record = {"step": iteration + 1, **self.learner.iterate(iteration)}
                self.policy.update_average(iteration)
                for observer in observers:
                    record |= observer.after(iteration, self.learner.last)
                self.folder.metrics(record)
                tracker.log(iteration + 1, record)
                if (iteration + 1) % recipe.checkpoint.every == 0 or iteration + 1 == total:
                    self.saves.save(iteration + 1, self.policy, self.learner, self.sampler)
                advance(1)
        self.policy.take_average()
        self.editor.save_lora(self.folder.path / "lora")
        self.folder.finish({"iterations": total, "lora": "lora", "editor": self.editor.fingerprint})

    def _observers(self) -> list[Observer]:
        found: list[Observer] = []
        if self.recipe.log.grid_every and self.cases:
            found.append(SampleGrids(self.folder.path / "grids", self.editor, self.cases, self.recipe))
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


def _recomputes(recipe: Recipe, editor: TrainableEditor) -> bool:
    """Whether activations are computed again in the backward pass: on a GPU those of 60 blocks do not fit."""
    asked = recipe.train.checkpointing
    return editor.device.type == "cuda" if asked == "auto" else asked == "on"


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
