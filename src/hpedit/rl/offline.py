"""Offline DPO: learning from pairs of edits that people have rated, without sampling a single edit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hpedit.cases.pairs.pair_table import PreferencePair
from hpedit.editors.protocol import Conditioning
from hpedit.editors.sampling import group_by_size
from hpedit.rl.algorithms.preference import PreferencePairs, accumulate_pairs
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.metrics import MetricSums
from hpedit.rl.parallel.processes import ProcessGroup, shard_by_rank
from hpedit.rl.policy import finish_step
from hpedit.rl.sampler import CaseSampler


class Offline:
    """Learns from rated pairs; an iteration takes `rollout.groups` of them."""

    last = None

    def __init__(
        self, context: UpdateContext, pairs: Sequence[PreferencePair], sampler: CaseSampler, processes: ProcessGroup
    ) -> None:
        self.recipe, self.context, self.processes = context.recipe, context, processes
        self.pairs, self.sampler = pairs, sampler
        self.state: Mapping[str, Tensor] = {}
        self.ids: Sequence[str] = ()
        """Of the pairs that this process learns from in the iteration."""

    def iterate(self, iteration: int) -> dict[str, Any]:
        """One optimizer step; returns the iteration's record, the same in all processes."""
        began = time.perf_counter()
        policy, totals = self.context.policy, MetricSums()
        policy.zero_grad()
        chosen = shard_by_rank(self.processes, self.sampler.draw(self.recipe.rollout.groups))
        pairs = {index: self.pairs[index] for index in chosen}  # each read once, if they are lazy
        self.ids = [pairs[index].case.id for index in chosen]
        conditionings = [self.context.editor.encode([pairs[index].case]) for index in chosen]
        for bucket in group_by_size(conditionings):
            conditioning = Conditioning.cat([conditionings[place] for place in bucket])
            named = {chosen[place]: pairs[chosen[place]] for place in bucket}
            totals.merge(self._accumulate(named, conditioning, iteration))
        update = finish_step(policy, totals, self.processes)
        return {
            **update,
            "optimizer_steps": int(totals.terms > 0),
            "forwards": totals.forwards * self.context.passes,
            "seconds_train": time.perf_counter() - began,
        }

    def _accumulate(
        self, named: Mapping[int, PreferencePair], conditioning: Conditioning, iteration: int
    ) -> MetricSums:
        """Accumulate the gradient of pairs of one size, given by their numbers."""
        recipe, editor, found = self.recipe, self.context.editor, list(named.values())
        pairs = PreferencePairs(
            conditioning,
            group=torch.arange(len(found)),
            keys=[(index,) for index in named],
            winner=editor.latents([pair.chosen for pair in found]),
            loser=editor.latents([pair.rejected for pair in found]),
            weight=torch.tensor([pair.preference.weight for pair in found]),
        )
        schedule = editor.schedule(recipe.rollout.steps, conditioning)
        return accumulate_pairs(self.context, pairs, schedule, iteration, rows=recipe.train.micro_batch)
