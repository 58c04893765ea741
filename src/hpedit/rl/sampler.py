"""Case sampler: shuffles the training cases each epoch, in an order that depends on seed and epoch alone.

The only state is a cursor, the number of cases drawn so far: a resumed run continues at its cursor. Dynamic sampling,
which replaces zero-variance groups, advances it further.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from hpedit.seeds import generator


class CaseSampler:
    """Draws cases by index, epoch by epoch."""

    def __init__(self, count: int, seed: int, cursor: int = 0) -> None:
        """`count` cases; `cursor` of them have been drawn before."""
        assert count >= 1
        self.count, self.seed, self.cursor = count, seed, cursor

    def draw(self, number: int) -> list[int]:
        """The next `number` indices, all different: where an epoch's rest is too small, it is left out."""
        assert 1 <= number <= self.count, "more cases at once than there are"
        epoch, place = divmod(self.cursor, self.count)
        if place + number > self.count:
            epoch, place = epoch + 1, 0
        self.cursor = epoch * self.count + place + number
        return _order(self.count, self.seed, epoch)[place : place + number]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator(seed, "cases", epoch)).tolist()
    return order
