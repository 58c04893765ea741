"""Count the transformer forwards of a recipe, as the trainer does (`forwards` in metrics.jsonl). No torch.

A backward counts as two forwards, recomputed activations as one more (`rl.cost`). A forward in a window is padded to
its chunk size, so that a micro batch that does not divide a group costs forwards of padding rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.rl.cost import TRAINED_ROW


@dataclass(frozen=True, slots=True)
class AlgorithmForwards:
    """Properties of an RL algorithm that determine its forwards."""

    stochastic: bool
    """Whether its rollouts have a window of stochastic (SDE) steps."""
    keeps_means: bool
    old_policy: bool
    train: Callable[[Recipe, int, int, int], tuple[int, int, int]]
    """(recipe, groups of a wave, rows of its chunk, cost of a trained row) -> forwards (trained, reference, old)."""


@dataclass(frozen=True, slots=True)
class Forwards:
    """Number of forward-equivalents, each of one row."""

    rollout: float
    train: float = 0.0
    reference: float = 0.0
    """By the frozen base, for KL or DPO."""
    old: float = 0.0
    """By the old policy, outside the rollout."""

    @property
    def all(self) -> float:
        """Sum of all four."""
        return self.rollout + self.train + self.reference + self.old

    def scaled(self, by: float) -> Forwards:
        """All four multiplied by `by`."""
        return Forwards(self.rollout * by, self.train * by, self.reference * by, self.old * by)

    def with_refills(self, rounds: int) -> Forwards:
        """The most there can be with dynamic sampling: every round of it replaces every group."""
        return replace(self, rollout=self.rollout * (1 + rounds))

    def __add__(self, other: Forwards) -> Forwards:
        train, reference = self.train + other.train, self.reference + other.reference
        return Forwards(self.rollout + other.rollout, train, reference, self.old + other.old)


def iteration_forwards(recipe: Recipe, *, recomputes: bool, processes: int = 1) -> Forwards:
    """Forwards of one iteration of all processes, without zero-variance groups or dynamic sampling, at one image size.

    If a window's start is drawn at random and the steps before it are shared, the mean over the starts.
    """
    cost = TRAINED_ROW[recomputes]
    if recipe.offline:
        terms = recipe.rollout.groups * trained_levels(recipe, recipe.dpo.levels)
        return Forwards(0.0, 2.0 * terms * cost, 2.0 * terms)
    total = Forwards(0.0)
    for rank in range(processes):
        waves = _group_waves(recipe, len(range(rank, recipe.rollout.groups, processes)))
        for groups in waves:
            total += _rollout_forwards(recipe, groups)
        for update in range(recipe.train.inner_updates):
            apart = [(groups, _forward_rows(recipe, groups)) for groups in waves]
            at_once = recipe.train.advantage_std == "batch" or update > 0
            for groups, chunk in _merged_waves(recipe, waves) if at_once else apart:
                total += _update_forwards(recipe, groups, chunk, cost)
    return total


def forwards_per_edit(recipe: Recipe, *, recomputes: bool) -> Forwards:
    """Forwards per training edit (offline: per pair)."""
    iteration = iteration_forwards(recipe, recomputes=recomputes)
    return iteration.scaled(1 / units_per_iteration(recipe))


def units_per_iteration(recipe: Recipe) -> int:
    """Edits per iteration; offline: pairs."""
    return recipe.rollout.groups * (1 if recipe.offline else recipe.rollout.group_size)


def guidance_factor(recipe: Recipe) -> int:
    """Forwards per velocity: two with classifier-free guidance."""
    return 1 if recipe.rollout.cfg == 1.0 else 2


def trained_levels(recipe: Recipe, wanted: int) -> int:
    """Noise levels per training edit, at most the steps of the schedule."""
    return min(wanted, recipe.rollout.steps)


def _group_waves(recipe: Recipe, groups: int) -> list[int]:
    """Number of groups in each wave of one process."""
    most = max(1, recipe.train.micro_batch // recipe.rollout.group_size)
    return [min(most, groups - first) for first in range(0, groups, most)]


def _merged_waves(recipe: Recipe, waves: list[int]) -> list[tuple[int, int]]:
    """(groups, chunk) that are trained on together: waves whose forwards have the same shape."""
    together: dict[int, int] = {}
    for groups in waves:
        chunk = _forward_rows(recipe, groups)
        together[chunk] = together.get(chunk, 0) + groups
    return [(groups, chunk) for chunk, groups in together.items()]


def _forward_rows(recipe: Recipe, groups: int) -> int:
    """Rows per forward of a wave."""
    return min(recipe.train.micro_batch, groups * recipe.rollout.group_size)


def _rollout_forwards(recipe: Recipe, groups: int) -> Forwards:
    """Forwards of one wave's rollout."""
    settings, kind = recipe.rollout, ALGORITHMS[recipe.train.algorithm]
    rows, factor, chunk = groups * settings.group_size, guidance_factor(recipe), _forward_rows(recipe, groups)
    window = settings.window if kind.stochastic else 0
    low, high = settings.window_start
    before = (low + high) / 2
    alone = 1 if settings.shared_noise and kind.stochastic else settings.group_size
    if window:
        rollout = groups * alone * before + rows * (settings.steps - window - before) + window * _padded(rows, chunk)
    else:
        rollout = rows * settings.steps
    return Forwards(rollout * factor)


def _update_forwards(recipe: Recipe, groups: int, chunk: int, cost: int) -> Forwards:
    """Forwards of an optimizer step for the groups of one shape."""
    train, reference, old = ALGORITHMS[recipe.train.algorithm].train(recipe, groups, chunk, cost)
    factor = guidance_factor(recipe)
    return Forwards(0.0, float(train * factor), float(reference * factor), float(old * factor))


def _padded(rows: int, chunk: int) -> int:
    """Rows including padding, when each forward has exactly `chunk` of them."""
    return -(-rows // chunk) * chunk


def _policy_gradient_forwards(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:
    rows = _padded(groups * recipe.rollout.group_size * recipe.rollout.window, chunk)
    return rows * cost, rows if recipe.train.kl else 0, 0


def _nft_forwards(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:
    rows = _padded(groups * recipe.rollout.group_size * trained_levels(recipe, recipe.nft.levels), chunk)
    return rows * cost, rows if recipe.train.kl else 0, rows


def _dpo_forwards(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:  # noqa: ARG001
    pairs = min(recipe.dpo.pairs_per_group, recipe.rollout.group_size // 2)
    rows = 2 * groups * pairs * trained_levels(recipe, recipe.dpo.levels)
    return rows * cost, rows, 0


def _imitation_forwards(recipe: Recipe, groups: int, chunk: int, cost: int) -> tuple[int, int, int]:  # noqa: ARG001
    return groups * cost, 0, 0


ALGORITHMS: Final[Mapping[str, AlgorithmForwards]] = {
    "flow_grpo": AlgorithmForwards(True, False, False, _policy_gradient_forwards),
    "grpo_guard": AlgorithmForwards(True, True, False, _policy_gradient_forwards),
    "nft": AlgorithmForwards(False, False, True, _nft_forwards),
    "online_dpo": AlgorithmForwards(False, False, False, _dpo_forwards),
    "expert_iteration": AlgorithmForwards(False, False, False, _imitation_forwards),
    "offline_dpo": AlgorithmForwards(False, False, False, _dpo_forwards),
}
