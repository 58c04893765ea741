"""Where photographs come from: folders, Hugging Face image folders, parquet, WebDataset shards, tables, ready cases."""

from __future__ import annotations

from pathlib import Path

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources.base import Item, OpenedSource

__all__ = ["Item", "OpenedSource", "open_source"]


def open_source(section: SourceSection, number: int, base: Path, seed: int = 0) -> OpenedSource:
    """The source of a section of the recipe; see `OpenedSource` for the arguments.

    Nothing is read yet: a source that can't be read says so in `chunks` and `fingerprint`.
    """
    if section.kind == "folder":
        from hpedit.cases.sources.folder import FolderSource as Source
    elif section.kind == "image_folder":
        from hpedit.cases.sources.image_folder import ImageFolderSource as Source
    elif section.kind == "parquet":
        from hpedit.cases.sources.parquet import ParquetSource as Source
    elif section.kind == "webdataset":
        from hpedit.cases.sources.webdataset import WebDatasetSource as Source
    elif section.kind == "table":
        from hpedit.cases.sources.table import TableSource as Source
    elif section.kind == "cases":
        from hpedit.cases.sources.ready import CasesSource as Source
    else:
        from hpedit.cases.sources.ready import MiniSource as Source
    return Source(section, number, base, seed)
