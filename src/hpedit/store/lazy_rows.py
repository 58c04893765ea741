"""A lazy sequence over rows of parquet tables: each row is read when it is accessed.

    cases = LazyRows([Path("a.parquet"), Path("b.parquet")], iter_cases, places)
    cases[17]                       # read and decoded now; the last few are kept

50,000 cases are some 20 GB on disk and far more in memory; a run needs a few dozen per iteration.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

from hpedit.errors import HPEditError

KEPT = 16
"""Rows cached in memory, since a row is often read twice in succession."""
Place = tuple[int, int]
"""(number of the file, row in it)."""
R = TypeVar("R")


class LazyRows(Sequence[R], Generic[R]):
    """Lazy sequence of the items that `read` returns for the rows at `places`.

    Args:
        files: Tables.
        read: (table, rows) -> items of these rows.
        places: Place of each item.
        kept: Number of items cached in memory.
    """

    def __init__(
        self,
        files: Sequence[Path],
        read: Callable[[Path, range], Iterator[R]],
        places: Sequence[Place],
        kept: int = KEPT,
    ) -> None:
        self.files, self.places = list(files), list(places)
        self._read, self._kept = read, kept
        self._memory: OrderedDict[int, R] = OrderedDict()

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> LazyRows[R]: ...
    def __getitem__(self, index: int | slice) -> R | LazyRows[R]:
        """An item, or a lazy slice; HPEditError if the table has changed and the row is gone."""
        if isinstance(index, slice):
            return LazyRows(self.files, self._read, self.places[index], self._kept)
        number = range(len(self.places))[index]
        if number not in self._memory:
            self._memory[number] = self._read_row(*self.places[number])
            while len(self._memory) > self._kept:
                self._memory.popitem(last=False)
        self._memory.move_to_end(number)
        return self._memory[number]

    def select(self, numbers: Sequence[int]) -> LazyRows[R]:
        """A lazy sequence of the items with these numbers, in that order."""
        return LazyRows(self.files, self._read, [self.places[number] for number in numbers], self._kept)

    def _read_row(self, file: int, row: int) -> R:
        for item in self._read(self.files[file], range(row, row + 1)):
            return item
        raise HPEditError(f"{self.files[file]} has no row {row} any more", hint="it was changed during the run")
