"""Batches of several waves as one, so that their rows fill each other's forwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hpedit.rl.rollout import Batch


def join(batches: Sequence[Batch]) -> list[Batch]:
    """Batches of one bucket and one shape of forwards as one: their rows then fill each other's last forwards."""
    alike: dict[tuple[int, int], list[Batch]] = {}
    for batch in batches:
        alike.setdefault((id(batch.conditioning), batch.chunk), []).append(batch)
    return [several[0] if len(several) == 1 else _joined(several) for several in alike.values()]


def _joined(batches: Sequence[Batch]) -> Batch:
    def together(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    return replace(
        batches[0],
        edits=together("edits"),
        keys=tuple(key for batch in batches for key in batch.keys),
        group=together("group"),
        start=together("start"),
        path=together("path"),
        log_prob=together("log_prob"),
        mu=None if batches[0].mu is None else together("mu"),
        clean=together("clean"),
    )
