"""Rollout: groups of edits by a partly stochastic sampler, and what is needed to replay their steps under new weights.

Of the sampling steps a window of w is stochastic, the rest are ODE steps; the last step never is. The window is shared
by a group and drawn from (seed, iteration, group): windows drawn per edit have collapsed public runs, a window fixed
for the run sees only a part of the schedule. With w = 0 all is ODE, as DiffusionNFT and DPO want it.

The rows of a wave of whole groups take their steps together, so that forwards are full: some in their window, others
before or behind it. Where a group shares its noise, the steps before its window are computed once, for one row; all
rows then begin at their windows. Waves are decoded one after the other, so that judging can begin while the next is
sampled.

Every forward with a row in its window has the same shape: a short one is filled up with repeats of its last row, which
are thrown away. Matrix kernels choose their order of summation by shape, so replaying under unchanged weights repeats
the same floating-point sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hpedit.config.recipe import RolloutSection
from hpedit.editors.protocol import Conditioning, Editor
from hpedit.editors.sampling import group_by_size
from hpedit.records import Case
from hpedit.rl.flow_sde import Step, sde_step
from hpedit.seeds import derive_seed, generator


@dataclass(frozen=True, slots=True)
class RolloutSeed:
    """Names every random draw of a rollout: seed, iteration and group numbers."""

    seed: int
    """The recipe's."""
    iteration: int
    groups: tuple[int, ...]
    """Number of each case's group within the iteration, over all processes: it fixes the group's draws."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The edits of whole groups of one size. n edits, w stochastic steps."""

    edits: Tensor
    """(n,) long: index of each row among the rollout's edits (position of its case * group_size + member)."""
    keys: tuple[tuple[int, int], ...]
    """(n) of (group, member): names the edit within the iteration, whichever process makes it."""
    group: Tensor
    """(n,) long: row of `conditioning`."""
    conditioning: Conditioning
    """One row a group."""
    levels: Tensor
    """(steps + 1,) noise levels, on the CPU."""
    start: Tensor
    """(n,) long, on the CPU: first stochastic step."""
    trajectory: Tensor
    """(n, w + 1, N, C) float32: samples before, between and after the stochastic steps."""
    log_prob: Tensor
    """(n, w) float32: of the rollout."""
    mu: Tensor | None
    """(n, w, N, C) float32: means of the stochastic steps, where they were asked for."""
    x0: Tensor
    """(n, N, C) float32: the edits' latents x0."""
    chunk: int
    """Rows of every forward inside the window."""

    def level_pair(self, rows: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """(j,) and (j,): the noise levels before and after a stochastic step of each of the rows, on the CPU."""
        step = self.start[rows] + slots
        return self.levels[step], self.levels[step + 1]


@dataclass(slots=True)
class Rollout:
    """All edits of one iteration in one process: edit i belongs to case i // group_size."""

    batches: list[Batch]
    images: list[Image.Image]
    forwards: int
    """Rows that went through the transformer, those that only fill up included."""


OnDecoded = Callable[[list[int], list[Image.Image]], None]
"""Told of a wave's edits (their indices) as soon as they are pictures."""


@torch.no_grad()
def collect(
    editor: Editor,
    cases: Sequence[Case],
    settings: RolloutSection,
    draws: RolloutSeed,
    *,
    chunk: int,
    stochastic: bool = True,
    keep_means: bool = False,
    on_decoded: OnDecoded | None = None,
) -> Rollout:
    """Roll out `group_size` edits of each case.

    Args:
        editor: The policy.
        cases: One a group.
        settings: The recipe's `rollout` section.
        draws: Seed, iteration, and the number of each case's group.
        chunk: Edits in one forward.
        stochastic: False takes ODE steps alone; then every edit has noise of its own.
        keep_means: Keep the means of the stochastic steps, which GRPO-Guard needs.
        on_decoded: See `OnDecoded`.
    """
    assert len(cases) == len(draws.groups), "a number for each group"
    conditionings = [editor.encode([case]) for case in cases]
    images: dict[int, Image.Image] = {}
    batches, forwards = [], 0
    waves = max(1, chunk // settings.group_size)
    for bucket in group_by_size(conditionings):
        conditioning = Conditioning.cat([conditionings[position] for position in bucket])
        for first in range(0, len(bucket), waves):
            rows_of_groups = list(range(first, min(first + waves, len(bucket))))
            wave = _Wave(editor, conditioning, settings, draws, rows_of_groups, bucket, stochastic=stochastic)
            batch = wave.run(chunk, keep_means=keep_means)
            forwards += wave.forwards
            batches.append(batch)
            for rows in row_chunks(torch.arange(len(batch.edits)), chunk):
                indices = batch.edits[rows].tolist()
                decoded = editor.decode(batch.x0[rows.to(batch.x0.device)], conditioning)
                images.update(zip(indices, decoded, strict=True))
                if on_decoded is not None:
                    on_decoded(indices, decoded)
    return Rollout(batches, [images[i] for i in range(len(images))], forwards)


def window_start(settings: RolloutSection, seed: int, iteration: int, group: int) -> int:
    """First stochastic step of a group, uniform over the recipe's range, both ends included."""
    first, last = settings.window_start
    return first + derive_seed(seed, "window", iteration, group) % (last - first + 1)


@dataclass(frozen=True, slots=True)
class _Kept:
    """See `Batch`; `noise` (n, w, N, C) is what the stochastic steps are drawn with."""

    noise: Tensor
    trajectory: Tensor
    log_prob: Tensor
    mu: Tensor | None


class _Wave:
    """A few whole groups from noise to clean latents; it lives for one call of `run`."""

    def __init__(
        self, editor: Editor, conditioning: Conditioning, settings: RolloutSection, draws: RolloutSeed,
        rows: Sequence[int], bucket: Sequence[int], *, stochastic: bool,
    ) -> None:  # fmt: skip
        """`rows` of the conditioning, which holds the cases at the positions `bucket`."""
        size = settings.group_size
        self.editor, self.conditioning, self.settings, self.draws = editor, conditioning, settings, draws
        self.levels = editor.schedule(settings.steps, conditioning)
        self.window = settings.window if stochastic else 0
        self.shared = settings.shared_noise and stochastic
        self.member = torch.arange(size).repeat(len(rows))
        self.group = torch.tensor(rows).repeat_interleave(size)
        self.edits = torch.tensor([bucket[row] for row in rows]).repeat_interleave(size) * size + self.member
        numbers = [draws.groups[bucket[row]] for row in rows]
        self.keys = tuple((number, member) for number in numbers for member in range(size))
        starts = [
            window_start(settings, draws.seed, draws.iteration, number) if self.window else settings.steps
            for number in numbers
        ]
        self.start = torch.tensor(starts).repeat_interleave(size)
        self.chunk = self.forwards = 0

    def run(self, chunk: int, *, keep_means: bool) -> Batch:
        """Sample by forwards of at most `chunk` rows, and keep what the update needs."""
        self.chunk = min(chunk, len(self.edits))
        x = self._initial_noise()
        kept, begin = self._trajectory_storage(x, keep_means), torch.zeros_like(self.start)
        if self.shared:
            x, begin = self._before_window(x, kept), self.start
        for k in range(self.settings.steps - int(begin.min())):
            rows = (begin + k < self.settings.steps).nonzero()[:, 0]
            self._sampling_step(x, rows, begin[rows] + k, kept)
        return Batch(
            self.edits, self.keys, self.group, self.conditioning, self.levels, self.start, kept.trajectory,
            kept.log_prob, kept.mu, x, self.chunk,
        )  # fmt: skip

    def _trajectory_storage(self, x: Tensor, keep_means: bool) -> _Kept:
        n, w, shape = len(self.edits), self.window, x.shape[1:]
        return _Kept(
            noise=torch.stack([self._window_noise(*key, shape=(w, *shape)) for key in self.keys]).to(x.device),
            trajectory=x.new_empty((n, w + 1, *shape)),
            log_prob=x.new_empty((n, w)),
            mu=x.new_empty((n, w, *shape)) if keep_means else None,
        )

    def _sampling_step(self, x: Tensor, rows: Tensor, step: Tensor, kept: _Kept) -> None:
        """Move the rows `rows` (j,) of x, which are at the steps `step` (j,), by one step: stochastic in the window."""
        slot = step - self.start[rows]
        inside = ((slot >= 0) & (slot < self.window)).nonzero()[:, 0]
        place, s, s_next = rows.to(x.device), self.levels[step], self.levels[step + 1]
        before = x[place]
        v = self._velocity(before, s, rows, filled=len(inside) > 0)
        if len(inside) < len(rows):
            x[place] = sde_step(before, v, s, s_next, 0.0, kind="ode").x_next
        if len(inside):
            here, row, at = (index.to(x.device) for index in (inside, rows[inside], slot[inside]))
            drawn = sde_step(
                before[here], v[here], s[inside], s_next[inside], self.settings.noise,
                kind=self.settings.dynamics, z=kept.noise[row, at],
            )  # fmt: skip
            kept.trajectory[row, at], kept.trajectory[row, at + 1], x[row] = before[here], drawn.x_next, drawn.x_next
            kept.log_prob[row, at] = drawn.log_prob
            if kept.mu is not None:
                kept.mu[row, at] = drawn.mu

    def _before_window(self, x: Tensor, kept: _Kept) -> Tensor:
        """Where a group shares its noise, the ODE steps up to its window, computed for its first row alone."""
        rows = torch.arange(len(self.edits))
        firsts = rows[self.member == 0]
        for step in range(int(self.start.max())):
            before = firsts[self.start[firsts] > step]
            self._sampling_step(x, before, torch.full_like(before, step), kept)
        return x[(rows - self.member).to(x.device)]

    def _velocity(self, x: Tensor, s: Tensor, rows: Tensor, *, filled: bool = False) -> Tensor:
        """Velocities (j, N, C) of x (j, N, C), the rows `rows` of the wave."""
        found = []
        for part in row_chunks(torch.arange(len(rows)), self.chunk):
            chunk = self.chunk if filled else len(part)
            group = self.group[rows[part]]
            found.append(velocity_of(self.editor, self.conditioning, x[part.to(x.device)], s[part], group, chunk))
            self.forwards += chunk
        return torch.cat(found)

    def _initial_noise(self) -> Tensor:
        seed, iteration = self.draws.seed, self.draws.iteration
        seeds = [derive_seed(seed, "noise", iteration, group, 0 if self.shared else m) for group, m in self.keys]
        return self.editor.initial_noise(self.conditioning, seeds)

    def _window_noise(self, group: int, member: int, shape: tuple[int, ...]) -> Tensor:
        purpose = ("window noise", self.draws.iteration, group, member)
        return torch.randn(shape, generator=generator(self.draws.seed, *purpose))


def row_chunks(rows: Tensor, chunk: int) -> list[Tensor]:
    """Rows (n,) cut into pieces of `chunk`; the last may be shorter."""
    return [rows[start : start + chunk] for start in range(0, len(rows), chunk)]


def velocity_of(editor: Editor, conditioning: Conditioning, x: Tensor, s: Tensor, group: Tensor, chunk: int) -> Tensor:
    """Velocities of a few rows, by a forward of exactly `chunk` rows.

    Args:
        editor: The policy.
        conditioning: One row a group.
        x: (j, N, C) samples, 1 <= j <= chunk.
        s: (j,) noise levels, on the CPU.
        group: (j,) row of `conditioning` for each row of x.
        chunk: Rows of the forward.

    Returns:
        (j, N, C)
    """
    rows = torch.arange(chunk).clamp(max=len(x) - 1)
    full = x if len(x) == chunk else x[rows.to(x.device)]
    return editor.velocity(full, s[rows], conditioning.select(group[rows]))[: len(x)]


def replay(editor: Editor, batch: Batch, settings: RolloutSection, rows: Tensor, slots: Tensor) -> Step:
    """Replay stored stochastic steps under the current weights; `log_prob` and `mu` carry the gradient.

    Args:
        editor: The policy.
        batch: Of the rollout.
        settings: Of the rollout.
        rows: (j,) edits of the batch; at most `batch.chunk`.
        slots: (j,) which step of the window, of each.
    """
    s, s_next = batch.level_pair(rows, slots)
    place, slot = rows.to(batch.trajectory.device), slots.to(batch.trajectory.device)
    x = batch.trajectory[place, slot]
    v = velocity_of(editor, batch.conditioning, x, s, batch.group[rows], batch.chunk)
    return sde_step(x, v, s, s_next, settings.noise, kind=settings.dynamics, x_next=batch.trajectory[place, slot + 1])


def merge_batches(batches: Sequence[Batch]) -> list[Batch]:
    """Merge batches of one bucket and one shape of forwards: their rows then fill each other's last forwards."""
    alike: dict[tuple[int, int], list[Batch]] = {}
    for batch in batches:
        alike.setdefault((id(batch.conditioning), batch.chunk), []).append(batch)
    return [several[0] if len(several) == 1 else _concatenated(several) for several in alike.values()]


def _concatenated(batches: Sequence[Batch]) -> Batch:
    names = ["edits", "group", "start", "trajectory", "log_prob", "x0", *(["mu"] if batches[0].mu is not None else [])]
    tensors: dict[str, Any] = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
    return replace(batches[0], keys=tuple(key for batch in batches for key in batch.keys), **tensors)
