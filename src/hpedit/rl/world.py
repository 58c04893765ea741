"""The processes that train together, as far as the training loop knows of them.

for position in mine(world, range(groups)):     # the groups of this process
    ...
world.sum_(gradients)                           # in place, over all processes
rewards = world.gather(my_rewards)              # everybody's, in the order of ranks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class World(Protocol):
    """Equal processes that hold the same weights and work on different groups."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0; 0 alone writes to the run's folder."""
        ...

    @property
    def size(self) -> int:
        """Processes in all."""
        ...

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; all must call with tensors of equal shapes."""
        ...

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank; plain Python data."""
        ...


class Alone:
    """One process: nothing to sum, nobody to wait for."""

    rank = 0
    size = 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """The sum over one process is what it has."""

    def gather(self, value: T) -> list[T]:
        """Only one's own."""
        return [value]


def mine(world: World, items: Sequence[T]) -> list[T]:
    """Every `size`-th item, beginning at this process's rank: an even share, whatever the number."""
    return list(items[world.rank :: world.size])
