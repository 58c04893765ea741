"""Photo sources: folders, Hugging Face image folders, parquet, WebDataset shards, tables, ready cases."""

from __future__ import annotations

from pathlib import Path

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources.base import Item, OpenedSource

__all__ = ["Item", "OpenedSource", "open_source"]


def open_source(section: SourceSection, number: int, base: Path, seed: int = 0) -> OpenedSource:
    """Open the source of a recipe section, see `OpenedSource`; errors come from `chunks` and `fingerprint`."""
    return _source_class(section.kind)(section, number, base, seed)


def _source_class(kind: str) -> type[OpenedSource]:
    # Imported on use: ready cases bring the mini world with its photographs.
    if kind in ("cases", "mini"):
        from hpedit.cases.sources.ready import CasesSource, MiniSource

        return CasesSource if kind == "cases" else MiniSource
    from hpedit.cases.sources.image_folder import ImageFolderSource
    from hpedit.cases.sources.instruction_table import TableSource
    from hpedit.cases.sources.parquet import ParquetSource
    from hpedit.cases.sources.photo_folder import FolderSource
    from hpedit.cases.sources.webdataset import WebDatasetSource

    kinds: dict[str, type[OpenedSource]] = {
        "folder": FolderSource,
        "image_folder": ImageFolderSource,
        "parquet": ParquetSource,
        "webdataset": WebDatasetSource,
        "table": TableSource,
    }
    return kinds[kind]
