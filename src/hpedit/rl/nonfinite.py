"""Dump of a batch whose loss or gradient was not finite: enough to reproduce the failure elsewhere.

faulty/iteration_000012/
  numbers.json            the error, ids, rewards, scores, advantages
  batch_0.safetensors     latents before and after each stochastic step, log-probabilities, clean latents
  edit_00000.png          the edits
With several processes the others write below rank_1, rank_2, ...
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.rl.online import Experience
from hpedit.store.atomic import atomic_write
from hpedit.store.images import png_bytes
from hpedit.store.run_folder import FAULTY


def keep_batch(
    output: Path, iteration: int, rank: int, error: HPEditError, made: Experience | None, pairs: Sequence[str] = ()
) -> Path:
    """Write the batch of a failed iteration (counted from 0) and return the folder.

    Args:
        output: The run's folder.
        iteration: Of the failure.
        rank: Of this process.
        error: What went wrong.
        made: The edits; None where none are made.
        pairs: Ids of the preference pairs that were trained on instead.
    """
    folder = output / FAULTY / f"iteration_{iteration + 1:06d}"
    if rank:
        folder /= f"rank_{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, Any] = {"iteration": iteration + 1, "error": error.message, "pairs": list(pairs)}
    if made is not None:
        numbers |= _edit_numbers(made)
        for number, batch in enumerate(made.batches):
            tensors = {"edits": batch.edits, "path": batch.trajectory, "log_prob": batch.log_prob, "clean": batch.x0}
            tensors |= {"levels": batch.levels, "start": batch.start} | ({} if batch.mu is None else {"mu": batch.mu})
            owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            numbers["not_finite"][f"batch_{number}"] = {n: bad for n, t in owned.items() if (bad := _not_finite(t))}
            atomic_write(folder / f"batch_{number}.safetensors", save(owned))
        for number, image in enumerate(made.images):
            atomic_write(folder / f"edit_{number:05d}.png", png_bytes(image))
    atomic_write(folder / "numbers.json", json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    return folder


def _edit_numbers(made: Experience) -> dict[str, Any]:
    """Ids, scores and advantages by edit; NaN and infinity are written as text."""
    size = len(made.images) // max(1, len(made.cases))
    return {
        "not_finite": {},
        "edits": [
            {
                "edit": f"edit_{number:05d}.png",
                "case": made.cases[number // size].id,
                "group": made.groups[number // size],
                "scores": {name: _json_number(score.value) for name, score in scores.items()},
                "advantage": _json_number(float(made.values[number])),
                "active": bool(made.active[number]),
            }
            for number, scores in enumerate(made.scores)
        ],
    }


def _json_number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _not_finite(tensor: Tensor) -> int:
    return int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
