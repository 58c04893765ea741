"""Post-training: Flow-GRPO of a LoRA on an image editor, with HP-Scorer as reward (HP-Edit, arXiv 2604.19406).

How it departs from Flow-GRPO (arXiv 2505.05470):

1. Only a window of the sampling steps is stochastic and trained on; it is shared by a group (MixGRPO, 2507.21802).
2. No guidance: with it a public trainer of edits collapses.
3. The reward is r = sigmoid(2 score - 5) of a score on the human scale, and an edit that could not be scored has none.
4. The KL's reference is the editor with its LoRA switched off, and no reference is run at weight 0.

One iteration: draw cases, make a group of edits of each (`rollout.collect`), score them, turn scores into advantages
(`advantage`), update (`update.policy_update`). Every draw is a function of (seed, iteration, group, member), and a
checkpoint holds LoRA, its average, optimizer and iteration: a run that is killed and started again with the same
command ends in the same weights, bit for bit, as one that never was. What is exported is the average (`train.ema`).
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hpedit.cases.folder import CasesFolder
from hpedit.config import Recipe
from hpedit.editors.locate import model_name
from hpedit.editors.protocol import TrainableEditor
from hpedit.editors.sampling import edit_cases
from hpedit.errors import HPEditError
from hpedit.progress import stage
from hpedit.records import Case, Score
from hpedit.rl.advantage import Advantages, group_advantages, reward_from_score
from hpedit.rl.grids import GridRow, make_grid
from hpedit.rl.rollout import Rollout, collect
from hpedit.rl.seeds import derive_seed, generator
from hpedit.rl.tracking import Tracker
from hpedit.rl.update import policy_update
from hpedit.scorer.probes.gate import PROBE_FILES, admit_reward
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import atomic_write, read_jsonl
from hpedit.store.checkpoint import Checkpoint, load_latest, save_checkpoint
from hpedit.store.run_folder import METRICS, RunFolder, hash_path

GRID_CASES = 6
"""Rows of a sample grid."""
MAX_UNSCORABLE = 0.5
"""Share of unscorable edits in one iteration above which a run stops: the judge is down, or can't read these edits."""


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
        scorer: The reward.

    Raises:
        HPEditError: the recipe does not fit the cases, the folder holds another run, the scorer failed its probe, a
            first ratio is off 1, a loss is not finite, or too many edits can't be scored.
    """
    if recipe.rollout.cfg != 1.0:
        raise HPEditError("rollout.cfg is not 1", hint="guidance is not supported here: it makes the training collapse")
    inputs = {
        "editor": _base_fingerprint(editor) if editor else model_name(recipe.editor.model, recipe.editor.revision),
        "cases": _cases_hash(cases) if cases is not None else CasesFolder(recipe.cases).fingerprint(),
        "scorer": scorer.fingerprint if scorer else hash_path(recipe.scorer, PROBE_FILES),
    }
    asked = {key: value for key, value in recipe.resolved().items() if key not in ("output", "scorer_force")}
    with RunFolder.open(recipe.output, "train", asked, inputs) as run:
        if not run.done:
            _Training(
                recipe,
                run,
                editor or _load_editor(recipe),
                cases if cases is not None else _load_cases(recipe.cases),
                scorer or _load_scorer(recipe),
            ).run()
        elif editor is not None:
            editor.load_lora(run.path / "lora")
        return TrainResult(run.path, run.path / "lora", int(run.result()["iterations"]), read_jsonl(run.path / METRICS))


def draw_cases(count: int, groups: int, seed: int, iteration: int) -> list[int]:
    """The cases of one iteration, all different: a fresh order every epoch, of which an incomplete rest is left out."""
    per_epoch = count // groups
    epoch, place = divmod(iteration, per_epoch)
    order = torch.randperm(count, generator=generator(seed, "cases", epoch))
    return [int(index) for index in order[place * groups : (place + 1) * groups]]


class _Training:
    """One run from its last checkpoint to its end; it lives for one call of `run`."""

    def __init__(
        self, recipe: Recipe, run: RunFolder, editor: TrainableEditor, cases: Sequence[Case], scorer: Scorer
    ) -> None:
        self.recipe, self.folder, self.editor, self.scorer = recipe, run, editor, scorer
        self.cases = list({case.group_key: case for case in cases}.values())
        if len(self.cases) < recipe.rollout.groups:
            raise HPEditError(
                f"{len(self.cases)} different training cases are too few for {recipe.rollout.groups} groups",
                hint=f"set rollout.groups to at most {len(self.cases)}, or build more cases",
            )
        editor.add_lora(recipe.lora, derive_seed(recipe.seed, "lora"))
        self.parameters = editor.lora_parameters()
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=recipe.train.learning_rate,
            betas=recipe.train.betas,
            weight_decay=recipe.train.weight_decay,
        )
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.checkpoints = run.path / "checkpoints"
        self.grid_cases: list[Case] = []
        self.before: list[Image.Image] = []

    def run(self) -> None:
        """Train to the end and export."""
        recipe, total = self.recipe, self.recipe.train.iterations
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng())
            start = self._resume()
            self.folder.drop_metrics_after(start)
            tracker = Tracker(self.folder.path / "tensorboard", enabled=recipe.log.tensorboard, step=start)
            stack.callback(tracker.close)
            if recipe.log.grid_every:
                self._prepare_grid()
            advance = stack.enter_context(stage("post-train", total, done=start))
            for iteration in range(start, total):
                record = {"step": iteration + 1, **self._iterate(iteration)}
                self.folder.metrics(record)
                tracker.log(iteration + 1, record)
                self._save(iteration + 1, total)
                advance(1)
        self._take_average()
        self.editor.save_lora(self.folder.path / "lora")
        self.folder.finish({"iterations": total, "lora": "lora", "editor": self.editor.fingerprint})

    @torch.no_grad()
    def _update_average(self, iteration: int) -> None:
        """Move the average toward the weights; its first iterations count less, so that the start is forgotten soon."""
        decay = min(self.recipe.train.ema, (1 + iteration) / (10 + iteration))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def _take_average(self) -> None:
        """From here on the editor is what is exported."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average[name])

    def _iterate(self, iteration: int) -> dict[str, Any]:
        recipe = self.recipe
        began = time.perf_counter()
        chosen = draw_cases(len(self.cases), recipe.rollout.groups, recipe.seed, iteration)
        cases = [self.cases[index] for index in chosen]
        rollout = collect(
            self.editor,
            cases,
            recipe.rollout,
            seed=recipe.seed,
            iteration=iteration,
            chunk=recipe.train.micro_batch,
        )
        rolled = time.perf_counter()
        scores = self._score(iteration, cases, rollout)
        rewards = [None if s.value is None else reward_from_score(s.value) for s in scores]
        groups = [i // recipe.rollout.group_size for i in range(len(scores))]
        advantages = group_advantages(rewards, groups, std=recipe.train.advantage_std)
        scored = time.perf_counter()
        update = policy_update(self.editor, self.optimizer, rollout, advantages, recipe.rollout, recipe.train)
        self._update_average(iteration)
        return {
            **_score_metrics(scores, rewards, advantages),
            **update,
            "seconds_rollout": rolled - began,
            "seconds_score": scored - rolled,
            "seconds_train": time.perf_counter() - scored,
        }

    def _score(self, iteration: int, cases: Sequence[Case], rollout: Rollout) -> list[Score]:
        size = self.recipe.rollout.group_size
        per_edit = [case for case in cases for _ in range(size)]
        ids = [f"{iteration:06d}-{i // size:04d}-{i % size:04d}" for i in range(len(per_edit))]
        scores = self.scorer.score(per_edit, rollout.images, ids)
        assert len(scores) == len(ids), "one score for each edit"
        missing = [score for score in scores if score.value is None]
        if len(missing) > MAX_UNSCORABLE * len(scores):
            raise HPEditError(
                f"iteration {iteration + 1}: {len(missing)} of {len(scores)} edits are unscorable: {missing[0].reason}",
                hint="check the judge; the same command continues from the last checkpoint",
            )
        return scores

    def _resume(self) -> int:
        """Iterations done, with everything set as it was then. The RNG comes last, for loading may draw from it."""
        for leftover in self.folder.path.rglob(".tmp-*"):  # of a kill while a file was written; we hold the lock
            leftover.unlink()
        checkpoint = load_latest(self.checkpoints)
        if checkpoint is None:
            torch.manual_seed(derive_seed(self.recipe.seed, "global"))
            return 0
        self._restore(checkpoint)
        self.folder.log(f"continued from iteration {checkpoint.step}")
        torch.set_rng_state(checkpoint.tensors["rng"]["torch"])
        return checkpoint.step

    @torch.no_grad()
    def _restore(self, checkpoint: Checkpoint) -> None:
        saved = checkpoint.tensors["lora"]
        if saved.keys() != self.parameters.keys():
            raise HPEditError(f"{checkpoint.path} holds a LoRA of another model")
        for name, parameter in self.parameters.items():
            parameter.copy_(saved[name])
            self.average[name].copy_(checkpoint.tensors["average"][name])
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in checkpoint.tensors["optimizer"].items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)

    def _save(self, done: int, total: int) -> None:
        """The grid before the checkpoint: a kill between them repeats it, the other way round it would be missing."""
        every = self.recipe.log.grid_every
        if every and (done % every == 0 or done == total):
            self._write_grid(done)
        if done % self.recipe.checkpoint.every == 0 or done == total:
            tensors: dict[str, Mapping[str, Tensor]] = {
                "lora": dict(self.parameters),
                "average": self.average,
                "optimizer": _optimizer_tensors(self.optimizer),
                "rng": {"torch": torch.get_rng_state()},
            }
            save_checkpoint(self.checkpoints, done, tensors, {"iteration": done}, keep=self.recipe.checkpoint.keep)

    def _grid_edits(self, cases: Sequence[Case]) -> list[Image.Image]:
        seeds = [derive_seed(self.recipe.seed, "grid", index) for index in range(len(cases))]
        batch = self.recipe.train.micro_batch
        return edit_cases(self.editor, cases, seeds, self.recipe.rollout.steps, batch_size=batch)

    def _prepare_grid(self) -> None:
        """Choose the cases, as many tasks as there are, and make the base's edits."""
        by_task: dict[str, Case] = {}
        for case in self.cases:
            by_task.setdefault(case.task, case)
        self.grid_cases = [*by_task.values(), *(c for c in self.cases if c not in by_task.values())][:GRID_CASES]
        with self.editor.lora_disabled():
            self.before = self._grid_edits(self.grid_cases)

    def _write_grid(self, done: int) -> None:
        after = self._grid_edits(self.grid_cases)
        rows = [
            GridRow(case.instruction, (case.source, *pair))
            for case, *pair in zip(self.grid_cases, self.before, after, strict=True)
        ]
        buffer = io.BytesIO()
        make_grid(rows).save(buffer, "PNG")
        folder = self.folder.path / "grids"
        folder.mkdir(exist_ok=True)
        atomic_write(folder / f"iteration_{done:06d}.png", buffer.getvalue())


def _score_metrics(
    scores: Sequence[Score], rewards: Sequence[float | None], advantages: Advantages
) -> dict[str, float | int | None]:
    values = np.array([score.value for score in scores if score.value is not None])
    kept = np.array([reward for reward in rewards if reward is not None])
    some = len(values) > 0
    return {
        "reward_mean": float(kept.mean()) if some else None,
        "reward_std": float(kept.std()) if some else None,
        "score_mean": float(values.mean()) if some else None,
        "score_std": float(values.std()) if some else None,
        "unscorable": advantages.unscorable,
        "groups_skipped": advantages.zero_std_groups,
        "frac_zero_std": advantages.frac_zero_std,
        "advantage_abs_mean": float(np.abs(advantages.values).mean()),
    }


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as "<parameter's index>.<name>"; parameters that never had a gradient have none."""
    return {
        f"{index}.{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


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


def _load_scorer(recipe: Recipe) -> Scorer:
    from hpedit.scorer.hp_scorer import HPScorer

    fitted = HPScorer.load(recipe.scorer)
    if fitted.calibration.verdict != "ok" and not recipe.scorer_force:
        raise HPEditError(
            f"the scorer {recipe.scorer} has no signal and is refused as a reward: {fitted.calibration.reason}",
            hint="rate more edits or take another judge, or set scorer_force: true",
        )
    admit_reward(recipe.scorer, fitted.fingerprint, force=recipe.scorer_force)
    scorer: Scorer = fitted
    return scorer
