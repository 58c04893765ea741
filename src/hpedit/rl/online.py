"""One iteration of online RL: groups of edits, their rewards, advantages, one or more optimizer steps.

Cases come from the sampler. A wave of edits is judged while the next is sampled; with advantages by the group's own
deviation the first complete groups are trained on while later ones are judged. Zero-variance groups are skipped; with
dynamic sampling (`rollout.dynamic_sampling`), groups of further cases take their place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hpedit.records import Case
from hpedit.rl.advantage import Advantages, combined_advantages
from hpedit.rl.algorithms import ALGORITHMS
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.metrics import MetricSums
from hpedit.rl.parallel.processes import ProcessGroup, shard_by_rank
from hpedit.rl.policy import DEVIATION, finish_step
from hpedit.rl.rewards import MAIN, BackgroundScoring, Rewards, Scores, check_scorable, rewards_of
from hpedit.rl.rollout import Batch, RolloutSeed, collect, merge_batches
from hpedit.rl.sampler import CaseSampler
from hpedit.seeds import derive_seed

GroupRewards = tuple[int, dict[str, list[float | None]], list[float | None]]
"""(number, rewards by name, main scores) of one group's edits."""


@dataclass(slots=True)
class Experience:
    """The edits that one process made in an iteration: edit i is of cases[i // group_size]."""

    cases: list[Case] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    """Number of each case's group within the iteration, over all processes."""
    batches: list[Batch] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,) advantages; 0 where an edit takes no part."""
    active: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(n,) whether an edit takes part."""
    replaced: set[int] = field(default_factory=set)
    """Positions of cases whose zero-variance groups were replaced by groups of other cases."""
    forwards: int = 0

    def positions(self) -> list[int]:
        """Of the cases whose groups count."""
        return [position for position in range(len(self.cases)) if position not in self.replaced]


class Online:
    """Learns from groups of edits that it samples itself."""

    def __init__(
        self,
        context: UpdateContext,
        cases: Sequence[Case],
        rewards: Rewards,
        sampler: CaseSampler,
        processes: ProcessGroup,
    ) -> None:
        self.recipe, self.context, self.processes = context.recipe, context, processes
        self.cases, self.rewards, self.sampler = cases, rewards, sampler
        self.algorithm = ALGORITHMS[context.recipe.train.algorithm](context)
        self.last: Experience | None = None
        """Of the iteration before, for observers."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What the algorithm keeps beside the policy."""
        return self.algorithm.state

    def iterate(self, iteration: int) -> dict[str, Any]:
        """Sample, judge, update; returns the iteration's record, the same in all processes."""
        clock = _Clock()
        self.context.policy.zero_grad()
        with BackgroundScoring(self.rewards, overlap=self.recipe.rollout.overlap) as judging:
            made = self.last = self._sample_groups(iteration, judging, clock)
            totals = self._first_pass(made, judging, iteration, clock)
            clock.seconds["judge"] = judging.seconds
        everybody = self._gather_groups(made)
        counts = self.processes.gather((len(made.replaced), made.forwards))
        update = self._optimizer_steps(made, totals, iteration)
        self.algorithm.after_iteration(iteration)
        clock.lap("train")
        return {
            **self._summary(everybody),
            **update,
            "groups_replaced": sum(replaced for replaced, _ in counts),
            "forwards": (sum(rolled for _, rolled in counts) + update["forwards"]) * self.context.passes,
            **{f"seconds_{name}": seconds for name, seconds in clock.seconds.items()},
        }

    def _sample_groups(self, iteration: int, judging: BackgroundScoring, clock: _Clock) -> Experience:
        """Sample groups of edits and hand them to the judge; dynamic sampling replaces zero-variance groups."""
        made, settings = Experience(), self.recipe.rollout
        drawn, number = self.sampler.draw(settings.groups), 0
        for attempt in range(settings.dynamic_sampling + 1):
            numbered = list(enumerate(drawn, start=number))
            number += len(drawn)
            self._add(made, shard_by_rank(self.processes, numbered), iteration, judging)
            clock.lap("rollout")
            if attempt == settings.dynamic_sampling:
                break
            flat = self._zero_variance(made, judging)
            clock.lap("score")
            if not flat:
                break
            made.replaced |= {position for position, group in enumerate(made.groups) if group in flat}
            drawn = self.sampler.draw(len(flat))
        made.values, made.active = np.zeros(len(made.images)), np.zeros(len(made.images), dtype=bool)
        return made

    def _add(
        self, made: Experience, numbered: Sequence[tuple[int, int]], iteration: int, judging: BackgroundScoring
    ) -> None:
        """Sample groups, given as (number, case), and append them."""
        size, offset, recipe = self.recipe.rollout.group_size, len(made.images), self.recipe
        numbers = tuple(number for number, _ in numbered)
        cases = [self.cases[index] for _, index in numbered]

        def judge(edits: list[int], images: list[Image.Image]) -> None:
            ids = [f"{iteration:06d}-{numbers[edit // size]:04d}-{edit % size:04d}" for edit in edits]
            judging.submit([offset + edit for edit in edits], [cases[edit // size] for edit in edits], images, ids)

        algorithm, draws = self.algorithm, RolloutSeed(recipe.seed, iteration, numbers)
        with algorithm.behaviour():
            rollout = collect(
                self.context.editor, cases, recipe.rollout, draws, chunk=recipe.train.micro_batch,
                stochastic=algorithm.stochastic, keep_means=algorithm.keep_means, on_decoded=judge,
            )  # fmt: skip
        made.cases += cases
        made.groups += numbers
        made.batches += [replace(batch, edits=batch.edits + offset) for batch in rollout.batches]
        made.images += rollout.images
        made.forwards += rollout.forwards

    def _zero_variance(self, made: Experience, judging: BackgroundScoring) -> set[int]:
        """Numbers of the zero-variance groups among those that count, over all processes."""
        made.scores = judging.scores(range(len(made.images)))
        own = self._rewards_by_group(made)
        found = self._advantages(own, "group").zero_variance_groups if own else ()
        return {number for part in self.processes.gather([own[place][0] for place in found]) for number in part}

    def _first_pass(self, made: Experience, judging: BackgroundScoring, iteration: int, clock: _Clock) -> MetricSums:
        """Accumulate the first optimizer step's gradients, of each batch as soon as its advantages are known."""
        totals = MetricSums()
        waiting = self.recipe.train.advantage_std == "batch"
        if waiting:
            made.scores = judging.scores(range(len(made.images)))
            clock.lap("score")
            self._set_advantages(made)
            made.batches = merge_batches(made.batches)
        else:
            made.scores = [{}] * len(made.images)
        for batch in made.batches:
            edits = batch.edits.tolist()
            if not waiting:
                for edit, scores in zip(edits, judging.scores(edits), strict=True):
                    made.scores[edit] = scores
                clock.lap("score")
                self._set_own_advantages(made, edits)
            totals.merge(self._accumulate(batch, made, iteration))
            clock.lap("train")
        check_scorable(made.scores, iteration)
        return totals

    def _optimizer_steps(self, made: Experience, totals: MetricSums, iteration: int) -> dict[str, Any]:
        """Take the step of the first pass, then the others of this iteration."""
        policy, steps, forwards, first = self.context.policy, 0, 0, None
        update: dict[str, Any] = {}
        for inner in range(self.recipe.train.inner_updates):
            if inner:
                policy.zero_grad()
                totals, made.batches = MetricSums(), merge_batches(made.batches)
                for batch in made.batches:
                    totals.merge(self._accumulate(batch, made, derive_seed(iteration, "inner update", inner)))
            dtype, clip = (None if inner else self.context.editor.dtype), self.recipe.train.clip
            update = dict(finish_step(policy, totals, self.processes, first_ratio_in=dtype, clip=clip))
            forwards += totals.forwards
            first = first if inner else update.get(DEVIATION)
            if not totals.terms:
                break
            steps += 1
        if first is not None:
            update[DEVIATION] = first
        return {**update, "optimizer_steps": steps, "forwards": forwards}

    def _accumulate(self, batch: Batch, made: Experience, draws: int) -> MetricSums:
        """Add a batch's gradients; `draws` names noise and levels, which differ between the updates of an iteration."""
        edits = batch.edits.numpy()
        active = torch.as_tensor(made.active[edits])
        return self.algorithm.accumulate(batch, torch.as_tensor(made.values[edits]), active, draws)

    def _set_advantages(self, made: Experience) -> None:
        """Advantages by the deviation of the whole batch, over all processes."""
        everybody = self._gather_groups(made)
        found = self._advantages(everybody, "batch")
        size, place = self.recipe.rollout.group_size, {number: i for i, (number, *_) in enumerate(everybody)}
        for position in made.positions():
            here, there = position * size, place[made.groups[position]] * size
            made.values[here : here + size] = found.values[there : there + size]
            made.active[here : here + size] = found.active[there : there + size]

    def _set_own_advantages(self, made: Experience, edits: Sequence[int]) -> None:
        """Advantages by each group's own deviation, for the whole groups of one batch."""
        size = self.recipe.rollout.group_size
        edits = [edit for edit in edits if edit // size not in made.replaced]
        if edits:
            columns = rewards_of([made.scores[edit] for edit in edits])
            found = combined_advantages(columns, self.rewards.weights, [edit // size for edit in edits], std="group")
            made.values[edits], made.active[edits] = found.values, found.active

    def _rewards_by_group(self, made: Experience) -> list[GroupRewards]:
        """The groups of this process that count, without pictures."""
        size = self.recipe.rollout.group_size
        return [
            (made.groups[p], rewards_of(scores), [one[MAIN].value for one in scores])
            for p in made.positions()
            for scores in [made.scores[p * size : (p + 1) * size]]
        ]

    def _gather_groups(self, made: Experience) -> list[GroupRewards]:
        """The groups of all processes that count, in the order of their numbers."""
        return sorted(group for part in self.processes.gather(self._rewards_by_group(made)) for group in part)

    def _advantages(self, groups: Sequence[GroupRewards], std: str) -> Advantages:
        ids = [place for place, (_, _, values) in enumerate(groups) for _ in values]
        return combined_advantages(self._reward_columns(groups), self.rewards.weights, ids, std=std)

    def _reward_columns(self, groups: Sequence[GroupRewards]) -> dict[str, list[float | None]]:
        return {name: [r for _, rewards, _ in groups for r in rewards[name]] for name in self.rewards.weights}

    def _summary(self, groups: Sequence[GroupRewards]) -> dict[str, Any]:
        """Rewards, scores and advantages of the iteration's edits, over all processes."""
        found = self._advantages(groups, self.recipe.train.advantage_std)
        record: dict[str, Any] = {}
        for name, column in self._reward_columns(groups).items():
            record |= _mean_and_std("reward" if name == MAIN else f"{name}_reward", column)
        return {
            **record,
            **_mean_and_std("score", [value for _, _, values in groups for value in values]),
            "unscorable": found.unscorable,
            "groups_skipped": len(found.zero_variance_groups),
            "frac_zero_std": found.frac_zero_std,
            "advantage_abs_mean": float(np.abs(found.values).mean()),
        }


class _Clock:
    """Seconds by phase: each lap goes to the phase that it ends."""

    def __init__(self) -> None:
        self.seconds = {"rollout": 0.0, "score": 0.0, "train": 0.0, "judge": 0.0}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now


def _mean_and_std(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {f"{name}_mean": None, f"{name}_std": None}
    return {f"{name}_mean": float(known.mean()), f"{name}_std": float(known.std())}
