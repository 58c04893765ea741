"""One optimizer step: gradients of batches were summed as they became ready, and are scaled once, here."""

from __future__ import annotations

from typing import Final

import torch

from hpedit.rl.metrics import MetricSums
from hpedit.rl.nonfinite import FaultyStepError
from hpedit.rl.parallel.processes import ProcessGroup
from hpedit.rl.policy import LoraPolicy

RATIO_TOLERANCE: Final = {torch.float32: 1e-6, torch.bfloat16: 2e-5, torch.float16: 2e-5}
"""How far from 1 a ratio may be before any update, by the model's dtype: rounding alone. A clip range of 1e-4 leaves no
room for more.
"""
DEVIATION: Final = "ratio_deviation"
"""Largest |ratio - 1|, of algorithms that have a ratio."""


def finish_step(
    policy: LoraPolicy,
    totals: MetricSums,
    processes: ProcessGroup,
    *,
    first_ratio_in: torch.dtype | None = None,
    clip: float = 1.0,
) -> dict[str, float | None]:
    """Take the step whose gradients have been summed; without a single term nothing is touched.

    Args:
        policy: Its gradients are sums over the terms of `totals`.
        totals: Of this process.
        processes: All processes.
        first_ratio_in: The model's dtype, at the first step after a rollout: then a ratio must be 1.
        clip: Half-width of the ratio's free range: rounding may take up half of it at most.

    Returns:
        Means over the terms, "loss" among them, and "grad_norm"; None where there was no term.

    Raises:
        FaultyStepError: a first ratio is off 1, or loss or gradient are not finite.
    """
    numbers: dict[str, float | None] = dict(totals.reduce(processes))
    if not totals.terms:
        return {"loss": None, "grad_norm": None}
    deviation, loss = numbers.get(DEVIATION), numbers["loss"]
    assert loss is not None
    if first_ratio_in is not None and deviation is not None:
        _check_first_ratio(deviation, first_ratio_in, min(RATIO_TOLERANCE[first_ratio_in], clip / 2))
    numbers["grad_norm"] = policy.step(totals.terms, loss, processes)
    return numbers


def _check_first_ratio(deviation: float, dtype: torch.dtype, tolerance: float) -> None:
    if not deviation <= tolerance:
        raise FaultyStepError(
            f"before the first update a ratio is off 1 by {deviation:.2g} (tolerance {tolerance:.0e} in {dtype})",
            hint="the replay does not repeat the rollout: look for dropout, another precision, state between forwards",
        )
