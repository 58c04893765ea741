"""Held-out evaluation during training: the averaged weights edit fixed cases from fixed noise.

Edits are scored by the scorer, a second judge and, where exact targets are known, the oracle, and paired with the
base's edits of the same noise, which are made once. Alarms, best weights and early stopping follow from it. Evaluation
never affects the weights: weights and random state are restored afterwards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hpedit.bench.pixel_measures import measure_edit, measure_source
from hpedit.config.recipe import Recipe
from hpedit.editors.protocol import TrainableEditor
from hpedit.editors.sampling import edit_cases
from hpedit.mini.oracle import score_edit
from hpedit.records import Case
from hpedit.rl.monitor.evaluations import (
    ALARMS,
    BASE,
    EVALUATIONS,
    FOLDER,
    Evaluation,
    HeldOutTable,
    Values,
    best_evaluation,
    deciding,
    evaluation_metrics,
    read_evaluations,
    stop_reason,
)
from hpedit.rl.monitor.train_alarms import Alarm, find_alarms
from hpedit.rl.online import Experience
from hpedit.rl.parallel import stopping
from hpedit.rl.parallel.processes import ProcessGroup, shard_by_rank
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rewards import MAIN
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import derive_seed
from hpedit.stats.intervals import FEWEST_PHOTOS
from hpedit.store.atomic import append_jsonl, read_jsonl, write_json
from hpedit.store.run_folder import METRICS, RunFolder
from hpedit.store.tensors import read_tensors, write_tensors

logger = logging.getLogger(__name__)

ORACLE = "oracle"
BEST = "best"
"""Folder of the best averaged weights, one file a candidate."""


class HeldOutEvaluator:
    """Evaluates the held-out cases every so many iterations; an observer of `hpedit.rl.monitor.observer`."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder | None,
        policy: LoraPolicy,
        editor: TrainableEditor,
        cases: Sequence[Case],
        scorers: Mapping[str, Scorer],
        processes: ProcessGroup,
        start: int,
    ) -> None:
        """Read earlier evaluations, or evaluate the base.

        Args:
            recipe: Its section `evaluate`.
            run: The run's folder, in process 0; what it holds of iterations after `start` is dropped.
            policy: Whose average is evaluated.
            editor: Carries the policy.
            cases: Held-out cases.
            scorers: The rewards by name, "scorer" first, and the second judge as "second".
            processes: Processes among which cases are dealt; all get the same figures, process 0 writes.
            start: Iterations done.
        """
        self.recipe, self.run, self.policy, self.editor = recipe, run, policy, editor
        self.path = Path(recipe.output)
        self.cases, self.scorers, self.processes = list(cases), dict(scorers), processes
        self.with_oracle = recipe.evaluate.oracle == "auto" and all(case.oracle for case in cases)
        self.table = self._resume(start)
        photos = len(set(self.table.source_ids))
        if photos < FEWEST_PHOTOS and processes.rank == 0:
            logger.warning("%d photos are held out: no alarm can be raised on fewer than %d", photos, FEWEST_PHOTOS)
        self.decides = deciding(self.table, MAIN)
        self.standing = {line["kind"] for line in read_jsonl(self.path / ALARMS) if self._is_newest(line["step"])}

    @property
    def stop_reason(self) -> str | None:
        """Reason for early stopping; None while the run should go on."""
        return stop_reason(self.table, self.decides, self.recipe.evaluate.patience)

    def after(self, iteration: int, made: Experience | None) -> dict[str, float | None]:  # noqa: ARG002
        """Evaluate when it is due, and after the last iteration."""
        done = iteration + 1
        if done % self.recipe.evaluate.every and done != self.recipe.train.iterations:
            return {}
        began = time.perf_counter()
        with self.policy.swapped(self.policy.average):
            evaluation = self._evaluate(done)
        self.table.evaluations.append(evaluation)
        planned = -(-self.recipe.train.iterations // self.recipe.evaluate.every)
        alarms = find_alarms(self.table, self._mean_rewards(), MAIN, planned) if self.processes.rank == 0 else []
        standing = self.processes.gather(len(alarms))[0]
        if self.processes.rank == 0:
            append_jsonl(self.path / FOLDER / EVALUATIONS, asdict(evaluation))
            self._keep_best(done)
            self._raise_alarms(alarms)
        record = evaluation_metrics(self.table, evaluation)
        return record | {"alarms": float(standing), "seconds_evaluate": time.perf_counter() - began}

    def finish(self) -> dict[str, int]:
        """Set the policy's average to what is exported; returns which iterations are best and exported."""
        best, last = self._best_step(), self.table.evaluations[-1].step
        if best is None or best == last:
            return {"exported": last, "best": last}
        weights = read_tensors(self._best_file(best))
        if self.recipe.evaluate.export == "best":
            for name, average in self.policy.average.items():
                average.copy_(weights[name])
            return {"exported": best, "best": best}
        on_device = {name: weights[name].to(average.device) for name, average in self.policy.average.items()}
        with self.policy.swapped(on_device):
            if self.run:
                self.editor.save_lora(self.path / "lora_best")
        return {"exported": last, "best": best}

    def _resume(self, start: int) -> HeldOutTable:
        for name in (f"{FOLDER}/{EVALUATIONS}", ALARMS):
            if self.run:
                self.run.drop_metrics_after(start, name)
        table = read_evaluations(self.path)
        if table is not None:
            table.evaluations[:] = [evaluation for evaluation in table.evaluations if evaluation.step <= start]
            return table
        with self.editor.lora_disabled():
            base = self._evaluate(0)
        cases = [{"id": case.id, "task": case.task, "source_id": case.source_id} for case in self.cases]
        sources = _columns([measure_source(case.source) for case in self.cases])
        table = HeldOutTable(cases, sources, base)
        if self.processes.rank == 0:
            (self.path / FOLDER).mkdir(exist_ok=True)
            write_json(self.path / FOLDER / BASE, table.base_json())
        return table

    def _evaluate(self, done: int) -> Evaluation:
        """Edit and score all cases with the current weights, each process its share."""
        cuda = self.editor.device.type == "cuda"
        with torch.random.fork_rng([self.editor.device] if cuda else []):
            numbers = shard_by_rank(self.processes, range(len(self.cases)))
            cases = [self.cases[number] for number in numbers]
            images = self._held_out_edits(cases)
            scores = {name: _scored(scorer, cases, images, done) for name, scorer in self.scorers.items()}
        if self.with_oracle:
            scores[ORACLE] = [score_edit(case, image) for case, image in zip(cases, images, strict=True)]
        pixels = [measure_edit(image, case.source) for case, image in zip(cases, images, strict=True)]
        return _merged(done, len(self.cases), self.processes.gather((numbers, scores, _columns(pixels))))

    def _held_out_edits(self, cases: Sequence[Case]) -> list[Image.Image]:
        seeds = [derive_seed(self.recipe.seed, "held out noise", case.id) for case in cases]
        steps = self.recipe.evaluate.steps or self.recipe.rollout.steps
        return edit_cases(self.editor, cases, seeds, steps, batch_size=self.recipe.train.micro_batch)

    def _mean_rewards(self) -> list[float]:
        """Mean reward of each iteration whose record is written."""
        records = read_jsonl(self.path / METRICS)
        return [reward for record in records if (reward := record.get("reward_mean")) is not None]

    def _raise_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Write all to alarms.jsonl, and warn of those that did not stand at the previous evaluation."""
        for alarm in alarms:
            append_jsonl(self.path / ALARMS, alarm.as_dict())
            if alarm.kind not in self.standing:
                line = f"ALARM at iteration {alarm.step}: {alarm.text}"
                logger.warning("%s", line)
                if self.run:
                    self.run.log(line)
        self.standing = {alarm.kind for alarm in alarms}

    def _is_newest(self, step: int) -> bool:
        return bool(self.table.evaluations) and self.table.evaluations[-1].step == step

    def _keep_best(self, done: int) -> None:
        """Save the average if this evaluation is the best, and keep what a resumed run would fall back on."""
        best = best_evaluation(self.table, self.decides)
        if best is None or best.step != done:
            return
        (self.path / BEST).mkdir(exist_ok=True)
        write_tensors(self._best_file(done), self.policy.average)
        every = self.recipe.checkpoint.every
        saved = (done - 1) // every * every
        steps = self._best_steps()
        older = [step for step in steps if step <= saved]
        for step in steps:
            if step != done and step not in older[-1:] and step <= done:
                self._best_file(step).unlink()

    def _best_step(self) -> int | None:
        """The best evaluation whose weights are there."""
        there = set(self._best_steps())
        kept = replace(
            self.table, evaluations=[evaluation for evaluation in self.table.evaluations if evaluation.step in there]
        )
        best = best_evaluation(kept, self.decides)
        return best.step if best else None

    def _best_steps(self) -> list[int]:
        return sorted(int(file.stem.removeprefix("step_")) for file in (self.path / BEST).glob("step_*"))

    def _best_file(self, step: int) -> Path:
        return self.path / BEST / f"step_{step:06d}.safetensors"


def _scored(scorer: Scorer, cases: Sequence[Case], images: Sequence[Image.Image], done: int) -> list[float | None]:
    if not cases:
        return []
    stopping.progress("held-out judge")
    scores = scorer.score(cases, images, [f"held-out-{done:06d}-{case.id}" for case in cases])
    return [score.value for score in scores]


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _merged(step: int, count: int, parts: Sequence[tuple[list[int], Values, Values]]) -> Evaluation:
    """Merge the processes' parts, each (numbers of its cases, scores, measures), in the order of cases."""
    order = np.argsort([number for numbers, _, _ in parts for number in numbers]).tolist()
    assert len(order) == count, "every case once"

    def columns(found: Sequence[Mapping[str, Sequence[Any]]]) -> dict[str, list[Any]]:
        joined = {name: [value for one in found for value in one.get(name, ())] for name in found[0]}
        return {name: [values[place] for place in order] for name, values in joined.items()}

    return Evaluation(step, columns([scores for _, scores, _ in parts]), columns([pixels for _, _, pixels in parts]))
