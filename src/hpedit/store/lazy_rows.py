"""Rows of tables as a sequence that is read one by one when they are asked for.

    cases = LazyRows([Path("a.parquet"), Path("b.parquet")], iter_cases, places)
    cases[17]                       # read and decoded now; the last few are kept

50,000 cases are some 20 GB on disk and far more as pixels: a run looks at a few dozen an iteration.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

from hpedit.errors import HPEditError

KEPT = 16
"""Rows kept in memory, since one is often asked for twice in a row."""
Place = tuple[int, int]
"""(number of the file, row in it)."""
R = TypeVar("R")


class LazyRows(Sequence[R], Generic[R]):
    """What `read` makes of the rows at `places`; nothing is read before it is asked for.

    Args:
        files: Tables.
        read: (table, rows) -> what stands there.
        places: Where each item stands.
        kept: Items kept in memory.
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
        """One item, or a part that is as lazy; HPEditError if the table has changed and the row is gone."""
        if isinstance(index, slice):
            return LazyRows(self.files, self._read, self.places[index], self._kept)
        number = range(len(self.places))[index]
        if number not in self._memory:
            self._memory[number] = self._fetch(*self.places[number])
            while len(self._memory) > self._kept:
                self._memory.popitem(last=False)
        self._memory.move_to_end(number)
        return self._memory[number]

    def select(self, numbers: Sequence[int]) -> LazyRows[R]:
        """The items of these numbers, in that order, as lazy."""
        return LazyRows(self.files, self._read, [self.places[number] for number in numbers], self._kept)

    def _fetch(self, file: int, row: int) -> R:
        for item in self._read(self.files[file], range(row, row + 1)):
            return item
        raise HPEditError(f"{self.files[file]} has no row {row} any more", hint="it was changed while it was in use")
