"""Groups of edits by a partly stochastic sampler, and what is needed to score them again under other weights.

Of the sampling steps a window of w is stochastic, the rest are ODE steps; the last step never is. The window is shared
by a group and drawn from (seed, iteration, group): windows drawn per edit have collapsed public runs, a window fixed
for the run sees only a part of the schedule.

Every forward of an iteration has the same shape: a short chunk is filled up with repeats of its last row, which are
thrown away. Matrix kernels choose their order of summation by shape, so replaying under unchanged weights repeats the
same floating-point sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from hpedit.editors.protocol import Conditioning, Editor
from hpedit.editors.sampling import group_by_size
from hpedit.records import Case
from hpedit.rl.flow_sde import Step, sde_step
from hpedit.rl.seeds import derive_seed, generator


class RolloutSettings(Protocol):
    """The `rollout` section of a recipe, as far as it is needed here."""

    @property
    def steps(self) -> int:
        """Sampling steps."""
        ...

    @property
    def dynamics(self) -> str:
        """A key of `hpedit.rl.flow_sde.STOCHASTIC`."""
        ...

    @property
    def noise(self) -> float:
        """Noise level a."""
        ...

    @property
    def window(self) -> int:
        """Stochastic steps."""
        ...

    @property
    def window_start(self) -> tuple[int, int]:
        """First and last step at which the window may start."""
        ...

    @property
    def group_size(self) -> int:
        """Edits of one case."""
        ...

    @property
    def shared_noise(self) -> bool:
        """Whether a group starts from one noise; its ODE steps before the window are then computed once."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """The edits of all groups of one size. n edits, w stochastic steps."""

    edits: Tensor
    """(n,) long: index of each row among the iteration's edits (group * group_size + member)."""
    group: Tensor
    """(n,) long: row of `conditioning`."""
    conditioning: Conditioning
    """One row a group."""
    levels: Tensor
    """(steps + 1,) noise levels, on the CPU."""
    start: Tensor
    """(n,) long, on the CPU: first stochastic step."""
    path: Tensor
    """(n, w + 1, N, C) float32: samples before, between and after the stochastic steps."""
    log_prob: Tensor
    """(n, w) float32: of the rollout."""
    chunk: int
    """Rows of every forward."""

    def level_pair(self, slot: int) -> tuple[Tensor, Tensor]:
        """(n,) and (n,): the noise levels before and after stochastic step `slot` of each row, on the CPU."""
        return self.levels[self.start + slot], self.levels[self.start + slot + 1]


@dataclass(frozen=True, slots=True)
class Rollout:
    """All edits of one iteration: edit i belongs to group i // group_size."""

    batches: list[Batch]
    images: list[Image.Image]


@torch.no_grad()
def collect(
    editor: Editor, cases: Sequence[Case], settings: RolloutSettings, *, seed: int, iteration: int, chunk: int
) -> Rollout:
    """Make `group_size` edits of each case.

    Args:
        editor: The policy.
        cases: One a group.
        settings: The recipe's `rollout` section.
        seed: The recipe's seed.
        iteration: Number of this iteration; with `seed` it fixes every draw.
        chunk: Edits in one forward.
    """
    conditionings = [editor.encode([case]) for case in cases]
    images: dict[int, Image.Image] = {}
    batches = []
    for groups in group_by_size(conditionings):
        sampler = _Sampler(
            editor, Conditioning.cat([conditionings[g] for g in groups]), groups, settings, seed, iteration, chunk
        )
        batch, latents = sampler.run()
        batches.append(batch)
        for rows in parts(torch.arange(len(batch.edits)), batch.chunk):
            decoded = editor.decode(latents[rows.to(latents.device)], batch.conditioning)
            images.update(zip(batch.edits[rows].tolist(), decoded, strict=True))
    return Rollout(batches, [images[i] for i in range(len(images))])


def window_start(settings: RolloutSettings, seed: int, iteration: int, group: int) -> int:
    """First stochastic step of a group, uniform over the recipe's range, both ends included."""
    first, last = settings.window_start
    return first + derive_seed(seed, "window", iteration, group) % (last - first + 1)


class _Sampler:
    """The rollout of one batch; it lives for one call of `run`."""

    def __init__(
        self,
        editor: Editor,
        conditioning: Conditioning,
        groups: Sequence[int],
        settings: RolloutSettings,
        seed: int,
        iteration: int,
        chunk: int,
    ) -> None:
        size = settings.group_size
        self.editor, self.conditioning, self.settings = editor, conditioning, settings
        self.levels = editor.schedule(settings.steps, conditioning)
        self.group = torch.arange(len(groups)).repeat_interleave(size)
        self.member = torch.arange(size).repeat(len(groups))
        self.edits = torch.tensor(groups).repeat_interleave(size) * size + self.member
        starts = [window_start(settings, seed, iteration, g) for g in groups]
        self.start = torch.tensor(starts).repeat_interleave(size)
        self.chunk = min(chunk, len(self.edits))
        self.draws = [(seed, iteration, g, m) for g in groups for m in range(size)]

    def run(self) -> tuple[Batch, Tensor]:
        """The batch, and its clean latents (n, N, C)."""
        x = self._initial_noise()
        n, w = len(self.edits), self.settings.window
        noise = torch.stack([self._window_noise(*draw, shape=(w, *x.shape[1:])) for draw in self.draws])
        path = x.new_empty((n, w + 1, *x.shape[1:]))
        log_prob = x.new_empty((n, w))
        for i, (s, s_next) in enumerate(pairwise(self.levels)):
            rows = self._rows_to_compute(i)
            v = x.new_empty((n, *x.shape[1:]))
            for part in parts(rows, self.chunk):
                v[part] = velocity_of(self.editor, self.conditioning, self.group, x, s, part, self.chunk)
            before = x
            x = self._spread(i, sde_step(x, v, s, s_next, 0.0, kind="ode").x_next)
            inside = ((self.start <= i) & (i < self.start + w)).nonzero()[:, 0]
            if len(inside):
                slot = i - self.start[inside]
                step = self._stochastic(before[inside], v[inside], s, s_next, noise[inside, slot].to(x.device))
                path[inside, slot] = before[inside]
                path[inside, slot + 1] = x[inside] = step.x_next
                log_prob[inside, slot] = step.log_prob
        batch = Batch(self.edits, self.group, self.conditioning, self.levels, self.start, path, log_prob, self.chunk)
        return batch, x

    def _stochastic(self, x: Tensor, v: Tensor, s: Tensor, s_next: Tensor, z: Tensor) -> Step:
        return sde_step(x, v, s, s_next, self.settings.noise, kind=self.settings.dynamics, z=z)

    def _initial_noise(self) -> Tensor:
        shared = self.settings.shared_noise
        seeds = [derive_seed(seed, "noise", it, g, 0 if shared else m) for seed, it, g, m in self.draws]
        return self.editor.initial_noise(self.conditioning, seeds)

    @staticmethod
    def _window_noise(seed: int, iteration: int, group: int, member: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator(seed, "window noise", iteration, group, member))

    def _rows_to_compute(self, i: int) -> Tensor:
        """All rows; with shared noise, of a group that has not reached its window only the first."""
        if not self.settings.shared_noise:
            return torch.arange(len(self.edits))
        return ((i >= self.start) | (self.member == 0)).nonzero()[:, 0]

    def _spread(self, i: int, x: Tensor) -> Tensor:
        """Give the rows that were not computed the result of their group's first."""
        if not self.settings.shared_noise:
            return x
        rows = torch.arange(len(self.edits))
        first = rows - self.member
        return x[torch.where(i >= self.start, rows, first).to(x.device)]


def parts(rows: Tensor, chunk: int) -> list[Tensor]:
    """Rows (n,) cut into pieces of `chunk`; the last may be shorter."""
    return [rows[start : start + chunk] for start in range(0, len(rows), chunk)]


def velocity_of(
    editor: Editor, conditioning: Conditioning, group: Tensor, x: Tensor, s: Tensor, rows: Tensor, chunk: int
) -> Tensor:
    """Velocities of a few rows, by a forward of exactly `chunk` rows.

    Args:
        editor: The policy.
        conditioning: One row a group.
        group: (n,) row of `conditioning` for each row of x.
        x: (n, N, C) samples.
        s: () or (n,) noise level, on the CPU.
        rows: (j,) rows to compute, 1 <= j <= chunk.
        chunk: Rows of the forward.

    Returns:
        (j, N, C)
    """
    filled = torch.cat([rows, rows[-1:].expand(chunk - len(rows))])
    levels = s if s.ndim == 0 else s[filled]
    return editor.velocity(x[filled.to(x.device)], levels, conditioning.select(group[filled]))[: len(rows)]


def replay(editor: Editor, batch: Batch, settings: RolloutSettings, slot: int, rows: Tensor) -> Step:
    """Score a stored stochastic step again under the weights as they are; its `log_prob` and `mu` carry the gradient.

    Args:
        editor: The policy.
        batch: Of the rollout.
        settings: Of the rollout.
        slot: Which step of the window.
        rows: (j,) at most `batch.chunk` rows.
    """
    s, s_next = batch.level_pair(slot)
    v = velocity_of(editor, batch.conditioning, batch.group, batch.path[:, slot], s, rows, batch.chunk)
    on_device = rows.to(batch.path.device)
    return sde_step(
        batch.path[on_device, slot],
        v,
        s[rows],
        s_next[rows],
        settings.noise,
        kind=settings.dynamics,
        x_next=batch.path[on_device, slot + 1],
    )
