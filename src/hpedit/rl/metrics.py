"""Metric sums of one optimizer step, fetched from the device once at its end and averaged over all processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hpedit.rl.parallel.processes import ProcessGroup


@dataclass(slots=True)
class MetricSums:
    """Sums over the chunks of one gradient accumulation."""

    terms: int = 0
    """Terms of the loss: replayed steps, trained noise levels, or pairs."""
    forwards: int = 0
    """Cost in forwards of one row, see `hpedit.rl.cost`."""
    _sums: list[dict[str, Tensor]] = field(default_factory=list)
    _largest: list[dict[str, Tensor]] = field(default_factory=list)

    def add(
        self, terms: int, forwards: int, sums: Mapping[str, Tensor], largest: Mapping[str, Tensor] | None = None
    ) -> None:
        """Add one chunk: `sums` over its terms, `largest` of them; () tensors, not read before `reduce`."""
        self.terms += terms
        self.forwards += forwards
        self._sums.append({name: value.detach().double() for name, value in sums.items()})
        self._largest.append({name: value.detach().double() for name, value in (largest or {}).items()})

    def merge(self, other: MetricSums) -> None:
        """Add the chunks of another."""
        self.terms += other.terms
        self.forwards += other.forwards
        self._sums += other._sums
        self._largest += other._largest

    def reduce(self, processes: ProcessGroup) -> dict[str, float]:
        """Means over all terms of all processes, and the largest values; {} without terms.

        Afterwards `terms` and `forwards` are those of all processes too.
        """
        # A NaN is kept: max of a tensor passes it on.
        own = (self.terms, self.forwards, _fold(self._sums, torch.sum), _fold(self._largest, torch.max))
        everybody = processes.gather(own)
        self.terms = sum(one[0] for one in everybody)
        self.forwards = sum(one[1] for one in everybody)
        totals: dict[str, float] = {}
        for _, _, sums, most in everybody:
            for name, value in sums.items():
                totals[name] = totals.get(name, 0.0) + value / self.terms
            for name, value in most.items():
                known = totals.get(name, value)
                totals[name] = known if known >= value or known != known else value
        return totals


def _fold(chunks: list[dict[str, Tensor]], by: Callable[[Tensor], Tensor]) -> dict[str, float]:
    return {name: float(by(torch.stack([one[name] for one in chunks]))) for name in (chunks[0] if chunks else ())}
