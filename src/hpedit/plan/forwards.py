"""How many transformer forwards a recipe makes, as the trainer counts them (`forwards` in metrics.jsonl). No torch.

A backward counts two forwards, recomputed activations one more (`rl.cost`). A forward in a window is filled up to its
chunk, so that a micro batch that does not divide a group costs forwards of rows that are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.rl.cost import TRAINED_ROW


@dataclass(frozen=True, slots=True)
class Kind:
    """What an algorithm does, as far as the count goes."""

    stochastic: bool
    """Its rollouts have a window of stochastic steps."""
    keeps_means: bool
    old_policy: bool
    train: Callable[[Recipe, int, int, int], tuple[int, int, int]]
    """(recipe, groups of a wave, rows of its chunk, cost of a trained row) -> forwards (trained, reference, old)."""


@dataclass(frozen=True, slots=True)
class Forwards:
    """Forward-equivalents of one row."""

    rollout: float
    train: float = 0.0
    reference: float = 0.0
    """Of the base, for KL or DPO."""
    old: float = 0.0
    """Of the old policy, outside the rollout."""

    @property
    def all(self) -> float:
        """Their sum."""
        return self.rollout + self.train + self.reference + self.old

    def scaled(self, by: float) -> Forwards:
        """Each times `by`."""
        return Forwards(self.rollout * by, self.train * by, self.reference * by, self.old * by)

    def __add__(self, other: Forwards) -> Forwards:
        return Forwards(
            self.rollout + other.rollout,
            self.train + other.train,
            self.reference + other.reference,
            self.old + other.old,
        )


def of_iteration(recipe: Recipe, *, recomputes: bool, processes: int = 1) -> Forwards:
    """One iteration of all processes: every group has signal, none is replaced, all pictures have one size.

    Where a window's start is drawn and the steps before it are shared, it is the mean over the starts.
    """
    cost = TRAINED_ROW[recomputes]
    if recipe.offline:
        terms = recipe.rollout.groups * levels_of(recipe, recipe.dpo.levels)
        return Forwards(0.0, 2.0 * terms * cost, 2.0 * terms)
    total = Forwards(0.0)
    for rank in range(processes):
        waves = _waves(recipe, len(range(rank, recipe.rollout.groups, processes)))
        for groups in waves:
            total += _sampled(recipe, groups)
        for update in range(recipe.train.inner_updates):
            at_once = recipe.train.advantage_std == "batch" or update > 0
            for groups, chunk in _joined(recipe, waves) if at_once else [(g, _chunk(recipe, g)) for g in waves]:
                total += _trained(recipe, groups, chunk, cost)
    return total


def at_most(recipe: Recipe, *, recomputes: bool, processes: int = 1) -> Forwards:
    """The same when every round of dynamic sampling has to replace every group."""
    once = of_iteration(recipe, recomputes=recomputes, processes=processes)
    return Forwards(once.rollout * (1 + recipe.rollout.dynamic_sampling), once.train, once.reference, once.old)


def of_edit(recipe: Recipe, *, recomputes: bool) -> Forwards:
    """For each edited image that is trained on (offline: for each pair)."""
    iteration = of_iteration(recipe, recomputes=recomputes)
    return iteration.scaled(1 / units(recipe))


def units(recipe: Recipe) -> int:
    """Edits of an iteration; pairs, where it learns offline."""
    return recipe.rollout.groups * (1 if recipe.offline else recipe.rollout.group_size)


def guided(recipe: Recipe) -> int:
    """Forwards that one velocity takes: two with guidance."""
    return 1 if recipe.rollout.cfg == 1.0 else 2


def levels_of(recipe: Recipe, wanted: int) -> int:
    """Noise levels that an edit is trained at: the schedule has no more than its steps."""
    return min(wanted, recipe.rollout.steps)


def _waves(recipe: Recipe, groups: int) -> list[int]:
    """Groups of each wave of one process."""
    most = max(1, recipe.train.micro_batch // recipe.rollout.group_size)
    return [min(most, groups - first) for first in range(0, groups, most)]


def _joined(recipe: Recipe, waves: list[int]) -> list[tuple[int, int]]:
    """(groups, chunk) of what is trained on together: waves whose forwards have one shape."""
    together: dict[int, int] = {}
    for groups in waves:
        chunk = _chunk(recipe, groups)
        together[chunk] = together.get(chunk, 0) + groups
    return [(groups, chunk) for chunk, groups in together.items()]


def _chunk(recipe: Recipe, groups: int) -> int:
    """Rows of a wave's forwards."""
    return min(recipe.train.micro_batch, groups * recipe.rollout.group_size)


def _sampled(recipe: Recipe, groups: int) -> Forwards:
    """The rollout of one wave."""
    settings, kind = recipe.rollout, ALGORITHMS[recipe.train.algorithm]
    rows, factor, chunk = groups * settings.group_size, guided(recipe), _chunk(recipe, groups)
    window = settings.window if kind.stochastic else 0
    low, high = settings.window_start
    before = (low + high) / 2
    alone = 1 if settings.shared_noise and kind.stochastic else settings.group_size
    if window:
        rollout = groups * alone * before + rows * (settings.steps - window - before) + window * _filled(rows, chunk)
    else:
        rollout = rows * settings.steps
    return Forwards(rollout * factor)


def _trained(recipe: Recipe, groups: int, chunk: int, cost: int) -> Forwards:
    """One optimizer step's part for the groups of one shape."""
    train, reference, old = ALGORITHMS[recipe.train.algorithm].train(recipe, groups, chunk, cost)
    factor = guided(recipe)
    return Forwards(0.0, float(train * factor), float(reference * factor), float(old * factor))


def _filled(rows: int, chunk: int) -> int:
    """Rows that run when each forward has exactly `chunk` of them."""
    return -(-rows // chunk) * chunk


def _policy_gradient(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:
    rows = _filled(groups * recipe.rollout.group_size * recipe.rollout.window, chunk)
    return rows * cost, rows if recipe.train.kl else 0, 0


def _nft(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:
    rows = _filled(groups * recipe.rollout.group_size * levels_of(recipe, recipe.nft.levels), chunk)
    return rows * cost, rows if recipe.train.kl else 0, rows


def _pairs(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:  # noqa: ARG001
    pairs = min(recipe.dpo.pairs_per_group, recipe.rollout.group_size // 2)
    rows = 2 * groups * pairs * levels_of(recipe, recipe.dpo.levels)
    return rows * cost, rows, 0


ALGORITHMS: Final[Mapping[str, Kind]] = {
    "flow_grpo": Kind(True, False, False, _policy_gradient),
    "grpo_guard": Kind(True, True, False, _policy_gradient),
    "nft": Kind(False, False, True, _nft),
    "online_dpo": Kind(False, False, False, _pairs),
    "offline_dpo": Kind(False, False, False, _pairs),
}
