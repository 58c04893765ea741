"""How long an iteration takes: from a measured step, or from FLOPs and bandwidth. No torch.

Without a measurement a forward takes the longer of its FLOPs at UTILISATION of the peak and of reading the base's
weights once at BANDWIDTH_SHARE of the peak. A forward-equivalent is what the trainer counts: a trained row is 3, or 4
with recomputed activations. As the base is frozen its weights need no gradients, so that the true work is about a
quarter less; the estimate leans to the long side. Encoding, decoding, judging and waiting are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.plan.architecture import Tokens
from hpedit.plan.forwards import Forwards
from hpedit.plan.gpus import GPU
from hpedit.plan.layout import Layout
from hpedit.plan.shape import EditorShape
from hpedit.rl.cost import TRAINED_ROW

UTILISATION: Final = 0.40
"""Share of the peak FLOP/s; assumed, a good value for transformers of this size."""
BANDWIDTH_SHARE: Final = 0.80
"""Share of the peak bandwidth; assumed."""
GRID_CASES: Final = 6
"""Cases of a sample grid: `GRID_CASES` of rl.sample_grids."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one row."""

    forward: float
    trained: float
    """Of a forward with its backward."""
    how: str
    """Where the figures are from."""


@dataclass(frozen=True, slots=True)
class Time:
    """Seconds."""

    rollout: float
    """Of an iteration."""
    train: float
    """Of an iteration, with reference and old policy."""
    run: float
    """Of all iterations, with the sample grids."""
    run_at_most: float
    """The same if every round of dynamic sampling were needed."""
    gpus: int
    how: str

    @property
    def iteration(self) -> float:
        """Of both phases."""
        return self.rollout + self.train

    @property
    def gpu_hours(self) -> float:
        """Of the run."""
        return self.run * self.gpus / 3600


def reckoned(gpu: GPU, shape: EditorShape, tokens: Tokens, layout: Layout, rows: int) -> Speed:
    """By the table of GPUs. `rows` go through the transformer at once."""
    computing = shape.architecture.flops(tokens) / (UTILISATION * gpu.flops)
    reading = layout.base_bytes(shape.architecture) / (BANDWIDTH_SHARE * gpu.bandwidth) / rows
    row = max(computing, reading)
    how = f"not measured: {UTILISATION:.0%} of {gpu.flops / 1e12:.0f} bf16 TFLOP/s assumed"
    return Speed(row, TRAINED_ROW[layout.recomputes] * row, how)


def time_of(recipe: Recipe, speed: Speed, layout: Layout, usual: Forwards, most: Forwards) -> Time:
    """Time of an iteration and of the run; the forwards are those of all processes."""
    rollout, train = _phases(usual, speed, layout)
    longest = sum(_phases(most, speed, layout))
    iterations = recipe.train.iterations
    grids = _grids(recipe) * speed.forward + _looks(recipe) * speed.forward / layout.gpus
    return Time(
        rollout, train, iterations * (rollout + train) + grids, iterations * longest + grids, layout.gpus, speed.how
    )


def _phases(forwards: Forwards, speed: Speed, layout: Layout) -> tuple[float, float]:
    rows = forwards.train / TRAINED_ROW[layout.recomputes]
    train = rows * speed.trained + (forwards.reference + forwards.old) * speed.forward
    return forwards.rollout * speed.forward / layout.gpus, train / layout.gpus


def _looks(recipe: Recipe) -> int:
    """Forwards of the looks at held-out cases, where a recipe has such."""
    section = recipe.resolved().get("evaluate") or {}
    if not section.get("every"):
        return 0
    looks = -(-recipe.train.iterations // int(section["every"]))
    return looks * int(section["count"]) * int(section.get("steps") or recipe.rollout.steps)


def _grids(recipe: Recipe) -> int:
    """Forwards of all sample grids."""
    if not recipe.log.grid_every or recipe.offline:
        return 0
    drawn = -(-recipe.train.iterations // recipe.log.grid_every)
    return (1 + drawn) * GRID_CASES * recipe.rollout.steps
