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
from hpedit.rl.algorithms.noised import draw_terms
from hpedit.rl.algorithms.preference import Pairs, accumulate_pairs
from hpedit.rl.algorithms.protocol import Setting
from hpedit.rl.cost import passes
from hpedit.rl.metrics import Tally
from hpedit.rl.parallel.processes import World, mine
from hpedit.rl.sampler import CaseSampler
from hpedit.rl.update import finish_step


class Offline:
    """Learns from rated pairs; an iteration takes `rollout.groups` of them."""

    last = None

    def __init__(self, setting: Setting, pairs: Sequence[PreferencePair], sampler: CaseSampler, world: World) -> None:
        self.recipe, self.setting, self.world = setting.recipe, setting, world
        self.pairs, self.sampler = pairs, sampler
        self.state: Mapping[str, Tensor] = {}
        self.ids: Sequence[str] = ()
        """Of the pairs that this process learns from in the iteration."""

    def iterate(self, iteration: int) -> dict[str, Any]:
        """One optimizer step; returns the iteration's record, the same in all processes."""
        began = time.perf_counter()
        policy, tally = self.setting.policy, Tally()
        policy.zero_grad()
        chosen = mine(self.world, self.sampler.draw(self.recipe.rollout.groups))
        pairs = {index: self.pairs[index] for index in chosen}  # each read once, if they are lazy
        self.ids = [pairs[index].case.id for index in chosen]
        conditionings = [self.setting.editor.encode([pairs[index].case]) for index in chosen]
        for bucket in group_by_size(conditionings):
            conditioning = Conditioning.cat([conditionings[place] for place in bucket])
            named = {chosen[place]: pairs[chosen[place]] for place in bucket}
            tally.merge(self._accumulate(named, conditioning, iteration))
        update = finish_step(policy, tally, self.world)
        return {
            **update,
            "optimizer_steps": int(tally.terms > 0),
            "forwards": tally.forwards * passes(self.recipe.rollout.cfg),
            "seconds_train": time.perf_counter() - began,
        }

    def _accumulate(self, named: Mapping[int, PreferencePair], conditioning: Conditioning, iteration: int) -> Tally:
        """Pairs of one size, by their numbers, each at a few noise levels."""
        recipe, editor, tally = self.recipe, self.setting.editor, Tally()
        winners = editor.latents([pair.chosen for pair in named.values()])
        losers = editor.latents([pair.rejected for pair in named.values()])
        schedule, keys = editor.schedule(recipe.rollout.steps, conditioning), [(index,) for index in named]
        weight = torch.tensor([pair.preference.weight for pair in named.values()])
        shape, chunk = winners.shape[1:], max(1, recipe.train.micro_batch // 2)
        for terms in draw_terms(schedule, recipe.dpo.levels, keys, shape, recipe.seed, iteration, chunk=chunk):
            place = terms.items.to(winners.device)
            pairs = Pairs(
                conditioning=conditioning,
                group=terms.items,
                winner=winners[place],
                loser=losers[place],
                noise=terms.noise.to(winners.device),
                t=terms.t,
                weight=weight[terms.items],
            )
            tally.merge(accumulate_pairs(self.setting, pairs))
        return tally
