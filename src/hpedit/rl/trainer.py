"""Post-training of an image editor: a LoRA learns from rewards or preferences (HP-Edit, arXiv 2604.19406).

How it departs from Flow-GRPO (arXiv 2505.05470), its default:

1. Only a window of the sampling steps is stochastic and trained on; it is shared by a group (MixGRPO, 2507.21802).
2. No guidance: with it a public trainer of edits collapses.
3. The reward is r = sigmoid(2 score - 5) of a score on the human scale, and an edit that could not be scored has none.
4. The KL's reference is the editor with its LoRA switched off, and no reference is run at weight 0.

An iteration belongs to a learner: `online.Online` (cases -> rollout -> rewards -> advantages -> update by one of
`algorithms.ALGORITHMS`) or `offline.Offline` (rated pairs -> update). Every draw is a function of (seed, iteration,
group, member), and a checkpoint holds all else (`checkpoints`): a run that is killed and started again with the same
command ends in the same weights, bit for bit, as one that never was. The average of the weights is exported
(`train.ema`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hpedit.config.recipe import FREE_KEYS, Recipe
from hpedit.editors.protocol import TrainableEditor
from hpedit.editors.usual import on_accelerator, settle
from hpedit.errors import HPEditError
from hpedit.progress import stage
from hpedit.records import Case
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.checkpoints import RunCheckpoints
from hpedit.rl.inputs import RunInputs
from hpedit.rl.monitor.group_log import GroupLog
from hpedit.rl.monitor.held_out_evaluator import HeldOutEvaluator
from hpedit.rl.monitor.observer import Observer
from hpedit.rl.monitor.sample_grids import GRIDS, SampleGrids, grid_file
from hpedit.rl.monitor.trackers import Tracker, open_tracker
from hpedit.rl.nonfinite import keep_batch
from hpedit.rl.offline import Offline
from hpedit.rl.online import Online
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.distributed import open_processes
from hpedit.rl.parallel.processes import ProcessGroup, check_equal_weights, check_shares, shard_by_rank
from hpedit.rl.parallel.sharding import denoiser, forwards_marked, shard, wants_shards
from hpedit.rl.parallel.stopping import StopAsked
from hpedit.rl.policy import FaultyStepError, LoraPolicy
from hpedit.rl.rng import forked, restore_rng, rng_tensors
from hpedit.rl.sampler import CaseSampler
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import derive_seed
from hpedit.store.atomic import naming_disk, read_jsonl
from hpedit.store.run_folder import METRICS, RunFolder


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left behind."""

    folder: Path
    """The run's folder: recipe, metrics.jsonl, grids, checkpoints."""
    lora: Path
    """Folder for `pipe.load_lora_weights` and `load_editor(lora=...)`."""
    iterations: int
    metrics: list[dict[str, Any]]
    """One record an iteration, as in metrics.jsonl; empty in all processes but rank 0."""


def train(
    recipe: Recipe,
    *,
    editor: TrainableEditor | None = None,
    cases: Sequence[Case] | None = None,
    scorer: Scorer | None = None,
    held_out: Sequence[Case] | None = None,
    second_judge: Scorer | None = None,
    resume: bool = False,
) -> TrainResult:
    """Run, or continue, the training that `recipe` describes; a finished one returns its result at once.

    With more iterations than it was finished with it goes on from its last checkpoint, and ends in the weights of a run
    that had as many from the beginning, bit for bit; one that stopped early stays as it is.

    Args:
        recipe: Where editor, cases or scorer are passed in, its paths for them are not read.
        editor: Gets a fresh LoRA in place of one that it may have, and comes back with the trained one.
        cases: Training cases; several with equal sources and instruction count as one.
        scorer: The main reward.
        held_out: Cases that are evaluated and never trained on; see the recipe's section `evaluate`.
        second_judge: Scores the held-out cases and gives no reward.
        resume: Fail if there is no checkpoint to continue from.

    Raises:
        HPEditError: the recipe does not fit the cases or the number of processes, the folder holds another run or one
            of more iterations, a scorer failed its probe, a first importance ratio differs from 1, a loss is not
            finite, or too many edits can't be scored.
        StopAsked: SIGINT or SIGTERM came; a checkpoint was written. Not an Exception.
    """
    accelerator = editor.device.type != "cpu" if editor else on_accelerator(recipe.editor.device)
    recipe = recipe.model_copy(update={"editor": settle(recipe.editor, accelerator=accelerator)})
    with open_processes(recipe, editor.device if editor else None) as processes, ExitStack() as stack:
        uneven = check_shares(processes, recipe.rollout.groups)
        inputs = RunInputs.open(
            recipe, processes, editor=editor, cases=cases, scorer=scorer, held_out=held_out, second_judge=second_judge
        )
        # Rank 0 alone has the folder; where it fails, the watchdog ends the others.
        run = None
        if processes.rank == 0:
            run = stack.enter_context(
                RunFolder.open(recipe.output, "train", recipe.shaping(), inputs.hashes(), FREE_KEYS)
            )
            _prolong(run, recipe)
        if run and uneven:
            run.log(uneven)
        done = processes.gather(run.done if run else None)[0]
        if not done:
            stopping.progress("loading")
            _Training(inputs, processes, run).run(resume)
        elif editor is not None:
            editor.load_lora(Path(recipe.output) / "lora")
        iterations = processes.gather(run.result()["iterations"] if run else None)[0]
        assert iterations is not None
        folder = Path(recipe.output)
        return TrainResult(folder, folder / "lora", int(iterations), read_jsonl(folder / METRICS) if run else [])


def _prolong(run: RunFolder, recipe: Recipe) -> None:
    """Open a finished run again that shall have more iterations; HPEditError if it has more than asked for."""
    result = run.result() if run.done else None
    done = int(result["iterations"]) if result else 0
    _refuse_shorter(run.path, done if result and not result.get("stopped") else 0, recipe.train.iterations)
    go_on = result is not None and not result.get("stopped") and done < recipe.train.iterations
    if go_on:
        run.log(f"prolonged from {done} to {recipe.train.iterations} iterations")
    run.reopen(recipe.shaping(), go_on=go_on)


def _refuse_shorter(path: Path, done: int, iterations: int) -> None:
    """HPEditError if a run has more iterations behind it than it shall have."""
    if done > iterations:
        raise HPEditError(
            f"{path} has {done} iterations behind it, train.iterations is {iterations}",
            hint="a run can be prolonged, not shortened: choose another output folder",
        )


class _Training:
    """One run from its last checkpoint to its end; it lives for one call of `run`."""

    def __init__(self, inputs: RunInputs, processes: ProcessGroup, run: RunFolder | None) -> None:
        self.inputs, self.processes, self.folder = inputs, processes, run
        self.recipe, self.editor, self.cases = inputs.recipe, inputs.editor, inputs.split.training
        recipe, editor = self.recipe, self.editor
        self.sampler = CaseSampler(inputs.count, recipe.seed)
        editor.add_lora(recipe.lora, derive_seed(recipe.seed, "lora"))
        self.policy = LoraPolicy(editor, recipe.train)
        editor.set_checkpointing(inputs.recomputes)
        context = UpdateContext(recipe, editor, self.policy, inputs.recomputes)
        if wants_shards(recipe):
            lockstep = shard(editor, inputs.pairs[0].case if inputs.pairs else self.cases[0], processes)
            context = replace(context, backward=lockstep.backward) if lockstep else context
        self.learner: Online | Offline
        if recipe.offline:
            self.learner = Offline(context, inputs.pairs, self.sampler, processes)
        else:
            self.learner = Online(context, self.cases, inputs.rewards, self.sampler, processes)
        self.checkpoints = RunCheckpoints(run, recipe.checkpoint, recipe.seed, processes)
        self.held_out: HeldOutEvaluator | None = None

    def run(self, resume: bool = False) -> None:
        """Train to the end and export; disk and signals are handled here."""
        recipe, total = self.recipe, self.recipe.train.iterations
        with ExitStack() as stack:
            stack.enter_context(naming_disk(recipe.output))
            stack.enter_context(forked())
            stack.enter_context(stopping.listening())
            stack.enter_context(forwards_marked(denoiser(self.editor)))
            done = self.checkpoints.resume(self.policy, self.learner, self.sampler, required=resume)
            _refuse_shorter(Path(recipe.output), done, total)
            tracker: Tracker | None = None
            if self.folder:
                self.folder.drop_metrics_after(done)
                self.folder.drop_iterations_after(done)
                tracker = open_tracker(recipe.log, self.folder.path, done)
                stack.callback(tracker.close)
            self.held_out = self._evaluate_base(done)
            observers = self._observers()
            if self.inputs.encoders_leave:
                self._encode_ahead(total - done)
            advance = stack.enter_context(stage("post-train", total, done=done)) if self.folder else None
            while done < total and not self._early_stop():
                if self.inputs.encoders_leave:  # cases of dynamic sampling may have brought them back
                    self.editor.offload_encoders()
                record = {"step": done + 1, **self._iterate(done)}
                self.policy.update_average(done)
                for observer in observers:
                    record |= observer.after(done, self.learner.last)
                if self.folder and tracker and advance:
                    self.folder.metrics(record)
                    grid = grid_file(self.folder.path / GRIDS, done + 1)
                    tracker.log(done + 1, record, {"samples": grid} if grid.exists() else None)
                    advance(1)
                done += 1
                self._finish_iteration(done)
            self._export(done)

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
            kept = keep_batch(Path(self.recipe.output), iteration, self.processes.rank, error, made, pairs)
            self.processes.gather(None)  # the first to fail ends all: let them write
            raise FaultyStepError(f"{error.message}; the batch is kept in {kept}", hint=error.hint) from error
        stopping.commit()
        return record

    def _finish_iteration(self, done: int) -> None:
        """Save a checkpoint when it is due, and stop if a signal asked for it."""
        signum, total = stopping.stop_signal(), self.recipe.train.iterations
        if done % self.recipe.checkpoint.every == 0 or done == total or self._early_stop():
            check_equal_weights(self.processes, self.policy.parameters)
            self.checkpoints.save(done, self.policy, self.learner, self.sampler)
        stopping.release()
        if signum is not None and done < total:
            self._stop(done, StopAsked(signum))

    def _stop(self, done: int, stop: StopAsked) -> NoReturn:
        if done:
            self.checkpoints.save(done, self.policy, self.learner, self.sampler)
        stop.advice = f"stopped by {stop} after iteration {done} of {self.recipe.train.iterations}"
        if self.folder:
            self.folder.log(stop.advice)
        raise stop

    def _encode_ahead(self, iterations: int) -> None:
        """Encode the cases that so many iterations will draw, each process its share."""
        ahead = CaseSampler(len(self.cases), self.recipe.seed, self.sampler.cursor)
        drawn = {number for _ in range(iterations) for number in ahead.draw(self.recipe.rollout.groups)}
        cases = shard_by_rank(self.processes, sorted(drawn))
        with stage("encode", len(cases)) as advance:
            for number in cases:
                stopping.safe_point("encoding")
                self.editor.encode([self.cases[number]])
                advance(1)
        self.processes.gather(None)

    def _early_stop(self) -> str | None:
        """Reason for early stopping; None while the run should go on."""
        return self.held_out.stop_reason if self.held_out else None

    def _export(self, done: int) -> None:
        """Write the LoRA of the averaged weights, which the editor then has, and the result."""
        early = self._early_stop()
        which = self.held_out.finish() if self.held_out else {}
        self.policy.take_average()
        if self.folder:
            if early:
                self.folder.log(f"stopped early after iteration {done}: {early}")
            self.editor.save_lora(self.folder.path / "lora", comfyui=self.recipe.lora.comfyui)
            facts = {"lora": "lora", "editor": self.editor.fingerprint, "stopped": early, **which}
            self.folder.finish({"iterations": done, **facts})

    def _evaluate_base(self, start: int) -> HeldOutEvaluator | None:
        """The held-out evaluator, which evaluates the base first; None without held-out cases."""
        split = self.inputs.split
        if self.folder and split.note and not start:
            self.folder.log(split.note)
        if not split.held_out:
            return None
        scorers = self.inputs.evaluation_scorers
        return HeldOutEvaluator(
            self.recipe, self.folder, self.policy, self.editor, split.held_out, scorers, self.processes, start
        )

    def _observers(self) -> list[Observer]:
        """Those that gather from all processes come before the one that runs in rank 0 alone."""
        out = Path(self.recipe.output)
        found: list[Observer] = [self.held_out] if self.held_out else []
        if self.recipe.log.groups_every and not self.recipe.offline:
            found.append(GroupLog(out, self.recipe, self.processes))
        if self.folder and self.recipe.log.grid_every and self.cases:
            found.append(SampleGrids(out / GRIDS, self.editor, self.cases, self.recipe))
        return found
