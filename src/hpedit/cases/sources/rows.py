"""The base class of sources that read parquet files: a chunk is a range of rows."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from hpedit.cases.source_items import Chunk
from hpedit.cases.sources.base import OpenedSource, files_by_name, hash_files
from hpedit.errors import HPEditError
from hpedit.store.tables import PARQUET_DAMAGE

CHUNKS_A_GROUP = 16
"""A row group is always read from its start, so more chunks would reread its first rows too often."""


def open_parquet(path: Path, name: str) -> pq.ParquetFile:
    """Open a parquet file; HPEditError with `name` if it is unreadable."""
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except PARQUET_DAMAGE as error:
        raise HPEditError(f"{name} is not a readable parquet file: {error}", hint="download the file again") from error


def row_ranges(file: pq.ParquetFile, size: int, most: int) -> Iterator[range]:
    """Split the first `most` rows of a file into ranges of `size`, larger in large row groups."""
    start = 0
    for group in range(file.metadata.num_row_groups):
        stop = min(start + file.metadata.row_group(group).num_rows, most)
        step = max(size, -(-(stop - start) // CHUNKS_A_GROUP))
        for first in range(start, stop, step):
            yield range(first, min(first + step, stop))
        start = stop


def parse_row_range(item: str) -> tuple[str, range]:
    """Parse an item START:STOP:FILE of a parquet source into file and range of rows."""
    start, stop, name = item.split(":", 2)
    return name, range(int(start), int(stop))


class RowsSource(OpenedSource):
    """Base class: reads rows of parquet files."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The parquet files, sorted; HPEditError if there are none."""

    def check(self, file: pq.ParquetFile, path: Path) -> None:
        """HPEditError if a file lacks a required column."""

    @cached_property
    def named(self) -> dict[str, Path]:
        """The files by name."""
        return files_by_name(self.files())

    def fingerprint(self) -> str:
        """See `OpenedSource`; pictures beside the files are not included."""
        return hash_files(self.named)

    def items(self) -> Iterator[str]:
        """See `OpenedSource`: rows."""
        return self._ranges(1)

    def chunks(self, size: int = 64) -> Iterator[Chunk]:
        """See `OpenedSource`: a chunk is one range of rows."""
        for number, item in enumerate(self._ranges(size)):
            yield Chunk(self.number, number, (item,))

    def _ranges(self, size: int) -> Iterator[str]:
        left = self.section.count or sys.maxsize
        for name, path in self.named.items():
            with open_parquet(path, str(path)) as file:
                self.check(file, path)
                for rows in row_ranges(file, size, left):
                    yield f"{rows.start}:{rows.stop}:{name}"
                left -= min(left, file.metadata.num_rows)
