"""The interface of a process group (data parallelism): shard by rank, sum gradients, gather values.

for position in shard_by_rank(processes, range(groups)):     # the groups of this process
    ...
processes.sum_(gradients)                           # in place, over all processes
rewards = processes.gather(my_rewards)              # everybody's, in the order of ranks
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.rl.parallel import stopping

T = TypeVar("T")


class ProcessGroup(Protocol):
    """Data-parallel processes that hold the same weights and work on different groups of edits."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0; 0 alone writes to the run's folder."""

    @property
    def size(self) -> int:
        """Processes in all."""

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; all must call with tensors of equal shapes."""

    def gather(self, value: T) -> list[T]:
        """Everybody's value, by rank; JSON's data, so that tuples may come back as lists."""


class SingleProcess:
    """A process group of one: nothing to sum, nobody to wait for."""

    rank = 0
    size = 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to do: the sum over one process."""

    def gather(self, value: T) -> list[T]:
        """A list of the one value."""
        stopping.check()
        return [value]


def shard_by_rank(processes: ProcessGroup, items: Sequence[T]) -> list[T]:
    """Every `size`-th item, beginning at this process's rank: an even share, whatever the number."""
    return list(items[processes.rank :: processes.size])


def check_shares(processes: ProcessGroup, groups: int) -> str:
    """A warning if the processes get unequal numbers of groups; "" if the shares are even.

    Raises:
        HPEditError: some process would have none.
    """
    even = [groups - groups % processes.size, groups + -groups % processes.size]
    if groups < processes.size:
        raise HPEditError(
            f"{processes.size} processes, but rollout.groups is {groups}: some would have nothing to do",
            hint=f"set rollout.groups to {even[1]}, or start at most {groups} processes",
        )
    if even[0] == even[1]:
        return ""
    return (
        f"rollout.groups is {groups} for {processes.size} processes: some make one group more than others, which wait; "
        f"{even[0]} or {even[1]} would be even"
    )


def broadcast(
    processes: ProcessGroup, tensors: Mapping[str, Mapping[str, Tensor]] | None
) -> dict[str, dict[str, Tensor]]:
    """Broadcast rank 0's tensors to all processes, on the CPU; the others pass None."""
    if processes.size == 1:
        assert tensors is not None
        return {group: dict(named) for group, named in tensors.items()}
    own = tensors or {}
    shapes: list[Any] = processes.gather(
        [
            [group, name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
            for group, named in own.items()
            for name, tensor in named.items()
        ]
    )[0]
    found: dict[str, dict[str, Tensor]] = {}
    for group, name, shape, dtype in shapes:
        empty = torch.zeros(shape, dtype=getattr(torch, dtype))
        tensor = own[group][name].cpu().clone() if processes.rank == 0 else empty
        processes.sum_([tensor])  # the others add nothing
        found.setdefault(group, {})[name] = tensor
    return found


def check_equal_weights(processes: ProcessGroup, parameters: Mapping[str, Tensor]) -> None:
    """HPEditError unless all processes hold the same weights, bit for bit: else they don't train one policy."""
    if processes.size == 1:
        return
    digest = hashlib.sha256()
    for tensor in parameters.values():
        digest.update(tensor.detach().cpu().numpy().tobytes())
    found = processes.gather(digest.hexdigest())
    if len(set(found)) > 1:
        odd = [rank for rank, one in enumerate(found) if one != found[0]]
        raise HPEditError(
            f"the weights of rank {', '.join(map(str, odd))} are not those of rank 0",
            hint="a GPU, its memory or the network is faulty; continue on other machines",
        )
