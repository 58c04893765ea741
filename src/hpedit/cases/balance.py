"""Balance a build: choose instruction candidates towards a target distribution over tasks and categories.

Greedy water-filling: the task that is furthest behind its share comes next, in it the category that is furthest behind,
and of that cell the instruction candidate with the smallest hash. An exhausted cell leaves its turns to the others. So
rare cells are taken whole, frequent ones are cut, and the order of the candidates has no effect.
"""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hpedit.cases.recipe import BalanceSection
from hpedit.seeds import hash_64
from hpedit.tasks import TASK_IDS

Cell = tuple[str, str]
"""Task and category."""
CandidatePlace = tuple[int, int, int]
"""File of the instruction candidate, row of its photograph, number within the photograph."""


@dataclass(slots=True)
class CandidatePool:
    """All instruction candidates of a build as numbers: some 30 bytes each."""

    seed: int
    """Of the build."""
    _cells: dict[Cell, int] = field(default_factory=dict)
    _units: dict[str, int] = field(default_factory=dict)
    _cell: array[int] = field(default_factory=lambda: array("i"))
    unit: array[int] = field(default_factory=lambda: array("i"))
    _key: array[int] = field(default_factory=lambda: array("Q"))
    _places: tuple[array[int], array[int], array[int]] = field(
        default_factory=lambda: (array("i"), array("i"), array("i"))
    )

    def add(self, place: CandidatePlace, cell: Cell, photo: str, instruction: str) -> None:
        """Add an instruction candidate; `per_photo` limits those of one `photo`."""
        self._cell.append(self._cells.setdefault(cell, len(self._cells)))
        self.unit.append(self._units.setdefault(photo, len(self._units)))
        # The smallest hash is taken first: an order without meaning, the same on every machine.
        self._key.append(hash_64(json.dumps([self.seed, photo, cell[0], instruction], ensure_ascii=False)))
        for column, value in zip(self._places, place, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(self._key)

    def counts(self) -> dict[Cell, int]:
        """Instruction candidates in each cell."""
        found = np.bincount(np.asarray(self._cell), minlength=len(self._cells))
        return {cell: int(found[number]) for cell, number in self._cells.items()}

    def queues(self) -> dict[Cell, list[int]]:
        """The candidates' indices by cell in hash order, to be popped from the end."""
        order = np.lexsort((np.asarray(self._key), np.asarray(self._cell)))[::-1]
        cells = np.asarray(self._cell)[order]
        return {cell: order[cells == number].tolist() for cell, number in self._cells.items()}

    def place(self, number: int) -> CandidatePlace:
        """Where an instruction candidate is stored."""
        one, two, three = (column[number] for column in self._places)
        return one, two, three


def choose_balanced(pool: CandidatePool, section: BalanceSection) -> list[CandidatePlace]:
    """Choose the instruction candidates that become candidate cases, sorted by their places."""
    found = pool.counts()
    shares = _category_shares(found, section)
    # A category of weight 0 is never taken, and must not raise its task's share either.
    available = {(task, category): count for (task, category), count in found.items() if shares[task][category] > 0}
    limits = _task_limits(available, section)
    total = min(section.count or len(pool), len(pool))
    queues = pool.queues()
    tasks = _Turns({task: _task_weight(task, available, section) for task in limits})
    cells = {task: _Turns(shares[task]) for task in limits}
    taken: Counter[str] = Counter()
    used: Counter[int] = Counter()
    chosen: list[CandidatePlace] = []
    while len(chosen) < total and (task := tasks.next()) is not None:
        number = None if taken[task] >= limits[task] else _take(pool, task, cells[task], queues, used, section)
        if number is None:
            tasks.drop(task)
            continue
        chosen.append(pool.place(number))
        used[pool.unit[number]] += 1
        taken[task] += 1
        tasks.count(task)
    return sorted(chosen)


def _take(
    pool: CandidatePool,
    task: str,
    turns: _Turns,
    queues: Mapping[Cell, list[int]],
    used: Mapping[int, int],
    s: BalanceSection,
) -> int | None:
    """The next instruction candidate of a task whose photograph may have one more; None if none is left."""
    while (category := turns.next()) is not None:
        queue = queues[task, category]
        while queue:
            number = queue.pop()
            if s.per_photo is None or used[pool.unit[number]] < s.per_photo:
                turns.count(category)
                return number
        turns.drop(category)
    return None


class _Turns:
    """Whose turn it is: the name whose count is furthest behind its weight; ties go to the first by name."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._counts: Counter[str] = Counter()
        # (n + 1) / weight: the level to which the next one would raise the name.
        self._heap = [(1 / weight, name) for name, weight in weights.items() if weight > 0]
        heapq.heapify(self._heap)

    def next(self) -> str | None:
        """The next name; None when all were dropped."""
        return self._heap[0][1] if self._heap else None

    def count(self, name: str) -> None:
        """Count a turn of the name that was next."""
        self._counts[name] += 1
        heapq.heapreplace(self._heap, ((self._counts[name] + 1) / self._weights[name], name))

    def drop(self, name: str) -> None:
        """Remove the name that was next: it has no more."""
        found = heapq.heappop(self._heap)
        assert found[1] == name


def _task_totals(available: Mapping[Cell, int]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for (task, _), count in available.items():
        totals[task] += count
    return totals


def _task_weight(task: str, available: Mapping[Cell, int], section: BalanceSection) -> float:
    if isinstance(section.tasks, dict):
        return section.tasks.get(task, 0.0)
    return 1.0 if section.tasks == "even" else float(_task_totals(available)[task])


def _task_limits(available: Mapping[Cell, int], section: BalanceSection) -> dict[str, int]:
    """Maximum of each task: without a count, (1 + slack) times what the scarcest task allows by its weight."""
    totals = _task_totals(available)
    weights = {task: _task_weight(task, available, section) for task in TASK_IDS if totals[task]}
    wanted = {task: weight for task, weight in weights.items() if weight > 0}
    if section.count is not None or not wanted:
        return {task: totals[task] for task in wanted}
    level = min(totals[task] / weight for task, weight in wanted.items()) * (1 + section.slack)
    # 1e-9, so that 3 * (1 / 3) is 1.
    return {task: min(totals[task], int(level * weight + 1e-9)) for task, weight in wanted.items()}


def _category_shares(available: Mapping[Cell, int], section: BalanceSection) -> dict[str, dict[str, float]]:
    """Weight of each category within each task; 0 for one that a given distribution does not name."""
    shares: dict[str, dict[str, float]] = {}
    for (task, category), count in sorted(available.items()):
        if isinstance(section.categories, dict):
            weight = section.categories.get(category, 0.0)
        else:
            weight = 1.0 if section.categories == "even" else float(count)
        shares.setdefault(task, {})[category] = weight
    return shares


def counts_by_task(cells: Mapping[Cell, int]) -> dict[str, dict[str, int]]:
    """Nest counts as {task: {category: n}}, tasks in their usual order, categories by name; zeros are left out."""
    return {
        task: {category: cells[task, category] for _, category in sorted(cells) if _ == task and cells[task, category]}
        for task in TASK_IDS
        if any(cell[0] == task and count for cell, count in cells.items())
    }
