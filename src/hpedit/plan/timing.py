"""Estimate how long an iteration and a run take: from a measured step, or from FLOPs and bandwidth. No torch.

Without a measurement a forward takes the longer of its FLOPs at UTILISATION of the peak and of reading the base's
weights once at BANDWIDTH_SHARE of the peak. A forward-equivalent is what the trainer counts: a trained row is 3, or 4
with recomputed activations. As the base is frozen its weights need no gradients, so that the true work is about a
quarter less; the estimate leans to the long side. Encoding, decoding, judging and waiting are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.forwards import Forwards
from hpedit.plan.gpus import GPU
from hpedit.plan.layout import Layout
from hpedit.plan.transformer_layers import Tokens
from hpedit.rl.cost import TRAINED_ROW

UTILISATION: Final = 0.40
"""Share of the peak FLOP/s; assumed, a good value for transformers of this size."""
BANDWIDTH_SHARE: Final = 0.80
"""Share of the peak bandwidth; assumed."""
GRID_CASES: Final = 6
"""Cases of a sample grid: `GRID_CASES` of rl.monitor.sample_grids, whose module needs torch."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds per row of a forward, and of a forward with its backward (`trained`)."""

    forward: float
    trained: float
    how: str
    """Where the figures are from."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """Seconds."""

    rollout: float
    """Per iteration."""
    train: float
    """Per iteration, with reference and old policy."""
    run: float
    """All iterations, with evaluations and sample grids."""
    run_at_most: float
    """The same if every round of dynamic sampling were needed."""
    gpus: int
    how: str

    @property
    def iteration(self) -> float:
        """Rollout and training."""
        return self.rollout + self.train

    @property
    def gpu_hours(self) -> float:
        """For the whole run."""
        return self.run * self.gpus / 3600


def speed_from_table(gpu: GPU, shape: EditorShape, tokens: Tokens, layout: Layout, rows: int) -> Speed:
    """Estimate seconds per row from a GPU's data sheet; `rows` go through the transformer at once."""
    computing = shape.architecture.flops(tokens) / (UTILISATION * gpu.flops)
    reading = layout.base_bytes(shape.architecture) / (BANDWIDTH_SHARE * gpu.bandwidth) / rows
    row = max(computing, reading)
    how = f"not measured: {UTILISATION:.0%} of {gpu.flops / 1e12:.0f} bf16 TFLOP/s assumed"
    return Speed(row, TRAINED_ROW[layout.recomputes] * row, how)


def run_time(recipe: Recipe, speed: Speed, layout: Layout, forwards: Forwards) -> RunTime:
    """Estimate the time of an iteration and of the run from the forwards of one iteration of all processes."""
    rollout, train = _phase_seconds(forwards, speed, layout)
    longest = sum(_phase_seconds(forwards.with_refills(recipe.rollout.dynamic_sampling), speed, layout))
    iterations = recipe.train.iterations
    extra = _grid_forwards(recipe) * speed.forward + _evaluation_forwards(recipe) * speed.forward / layout.gpus
    run, most = iterations * (rollout + train) + extra, iterations * longest + extra
    return RunTime(rollout, train, run, most, layout.gpus, speed.how)


def _phase_seconds(forwards: Forwards, speed: Speed, layout: Layout) -> tuple[float, float]:
    """Seconds of (rollout, training)."""
    rows = forwards.train / TRAINED_ROW[layout.recomputes]
    train = rows * speed.trained + (forwards.reference + forwards.old) * speed.forward
    return forwards.rollout * speed.forward / layout.gpus, train / layout.gpus


def _evaluation_forwards(recipe: Recipe) -> int:
    """Forwards of evaluations on held-out cases, if the recipe has any."""
    section = recipe.resolved().get("evaluate") or {}
    if not section.get("every"):
        return 0
    evaluations = -(-recipe.train.iterations // int(section["every"]))
    return evaluations * int(section["count"]) * int(section.get("steps") or recipe.rollout.steps)


def _grid_forwards(recipe: Recipe) -> int:
    """Forwards of all sample grids."""
    if not recipe.log.grid_every or recipe.offline:
        return 0
    drawn = -(-recipe.train.iterations // recipe.log.grid_every)
    return (1 + drawn) * GRID_CASES * recipe.rollout.steps
