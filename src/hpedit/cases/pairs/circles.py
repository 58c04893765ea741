"""Circles among preferences (a > b > c > a): found, named, and broken."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Edge = tuple[str, str]
"""The better one, the worse one."""


def break_circles(edges: Mapping[Edge, float], *, weakest: bool) -> tuple[set[Edge], list[tuple[str, ...]]]:
    """Take edges away until no circle is left.

    Args:
        edges: Each preference with its weight.
        weakest: Take, of each knot of circles, only the edges of the least weight, again and again; else all of it.

    Returns:
        The edges that stay, and for each knot that there was a shortest circle through its first name, which stands at
        both ends. Neither depends on the order of `edges`.
    """
    left = set(edges)
    knots = _knots(left)
    circles = [_circle(knot) for knot in knots]
    while knots:
        for knot in knots:
            least = min(edges[edge] for edge in knot)
            left -= {edge for edge in knot if not weakest or edges[edge] <= least}
        knots = _knots(left)
    return left, circles


def _knots(edges: Collection[Edge]) -> list[set[Edge]]:
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


def _circle(knot: set[Edge]) -> tuple[str, ...]:
    """A shortest way from the knot's first name back to it."""
    start = min(min(edge) for edge in knot)
    worse: dict[str, list[str]] = {}
    for better, other in sorted(knot):
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
