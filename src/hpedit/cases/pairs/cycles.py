"""Find and break cycles among preferences (a > b > c > a)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Edge = tuple[str, str]
"""The better one, the worse one."""


def break_cycles(edges: Mapping[Edge, float], *, weakest: bool) -> tuple[set[Edge], list[tuple[str, ...]]]:
    """Remove preferences until no cycle is left.

    Args:
        edges: Each preference with its weight.
        weakest: Remove only the edges of the smallest weight in each strongly connected component, repeatedly; else all
            its edges at once.

    Returns:
        The remaining edges, and for each component a shortest cycle through its first name, which stands at both ends.
        Neither depends on the order of `edges`.
    """
    left = set(edges)
    components = _components(left)
    cycles = [_shortest_cycle(component) for component in components]
    while components:
        for component in components:
            least = min(edges[edge] for edge in component)
            left -= {edge for edge in component if not weakest or edges[edge] <= least}
        components = _components(left)
    return left, cycles


def _components(edges: Collection[Edge]) -> list[set[Edge]]:
    """The edges of each strongly connected component that has any, by their names."""
    names = sorted({name for edge in edges for name in edge})
    if not names:
        return []
    place = {name: number for number, name in enumerate(names)}
    ordered = sorted(edges)
    rows, columns = ([place[edge[side]] for edge in ordered] for side in (0, 1))
    matrix = csr_array((np.ones(len(ordered)), (rows, columns)), shape=(len(names), len(names)))
    labels = connected_components(matrix, directed=True, connection="strong")[1]
    found: dict[int, set[Edge]] = {}
    for edge, row, column in zip(ordered, rows, columns, strict=True):
        if labels[row] == labels[column]:
            found.setdefault(int(labels[row]), set()).add(edge)
    return sorted(found.values(), key=min)


def _shortest_cycle(component: set[Edge]) -> tuple[str, ...]:
    """A shortest path from the component's first name back to it."""
    start = min(min(edge) for edge in component)
    worse: dict[str, list[str]] = {}
    for better, other in sorted(component):
        worse.setdefault(better, []).append(other)
    queue: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while True:
        way = queue.popleft()
        for name in worse[way[-1]]:
            if name == start:
                return (*way, start)
            if name not in seen:
                seen.add(name)
                queue.append((*way, name))
