"""Noise levels of a sampling run, as the model's own scheduler sets them; the same for all pipelines here."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_shift, retrieve_timesteps
from torch import Tensor

from hpedit.errors import HPEditError

FEWEST = 2
"""Steps: with one, the terminal shift of Qwen-Image's schedule divides by zero."""


def noise_levels(scheduler: Any, steps: int, tokens: int) -> Tensor:
    """(steps + 1,) float32 on the CPU, from 1 to 0: shift by size and terminal included.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler; it is left as it is.
        steps: Sampling steps, at least 2.
        tokens: Of the target.

    Raises:
        HPEditError: too few steps.
    """
    if steps < FEWEST:
        raise HPEditError(f"{steps} steps are too few", hint=f"this model's schedule needs at least {FEWEST}")
    # A copy: set_timesteps leaves its result in the scheduler, which is the pipeline's own.
    scheduler = copy.deepcopy(scheduler)
    config = scheduler.config
    shift = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    retrieve_timesteps(scheduler, steps, "cpu", sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    levels: Tensor = scheduler.sigmas
    return levels
