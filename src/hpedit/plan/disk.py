"""Disk space: what is fetched, and what a run writes, in bytes. No torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpedit.config.recipe import Recipe
from hpedit.plan.activations import FLOAT
from hpedit.plan.architecture import Tokens
from hpedit.plan.forwards import ALGORITHMS
from hpedit.plan.layout import Layout
from hpedit.plan.memory import lora_numbers, optimizer_bytes
from hpedit.plan.shape import EditorShape
from hpedit.plan.timing import GRID_CASES

RECORD = 2_000
"""bytes of one iteration in metrics.jsonl and TensorBoard."""
PNG_PIXEL = 2
"""bytes of a pixel of a grid, about."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What goes where."""

    download: int
    """To the hub's cache; what is there already does not count."""
    conditioning: int
    checkpoints: int
    grids: int
    other: int
    cache_folder: Path
    output_folder: Path

    @property
    def output(self) -> int:
        """All that a run writes to its folder."""
        return self.conditioning + self.checkpoints + self.grids + self.other

    def free(self) -> tuple[int | None, int | None]:
        """Bytes free where the cache and where the output is or will be; None where no folder above it is there."""
        return _free(self.cache_folder), _free(self.output_folder)

    def lacking(self) -> list[str]:
        """A sentence for each disk that is too small; one disk has to hold both where both are on it."""
        cache, output = self.free()
        together = _device(self.cache_folder) == _device(self.output_folder)
        if together and output is not None:
            wanted = self.download + self.output
            text = f"the disk of {self.output_folder} has {gb(output)} free, and {gb(wanted)} are needed"
            return [text] if wanted > output else []
        found = []
        for free, wanted, folder in (
            (cache, self.download, self.cache_folder),
            (output, self.output, self.output_folder),
        ):
            if free is not None and wanted > free:
                found.append(f"the disk of {folder} has {gb(free)} free, and {gb(wanted)} are needed")
        return found


def disk_of(
    recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, *, download: int, cases: int, cache: Path
) -> Disk:
    """Add up a run; `cases` are those that will be encoded."""
    layers, rank = shape.architecture.adapted(recipe.lora.targets), recipe.lora.rank
    lora = FLOAT * lora_numbers(layers, rank)
    old = lora if ALGORITHMS[recipe.train.algorithm].old_policy else 0
    one = 2 * lora + optimizer_bytes(layers, rank) + old
    # The new one is written before the oldest goes.
    kept = min(recipe.checkpoint.keep + 1, -(-recipe.train.iterations // recipe.checkpoint.every))
    drawn = 0 if recipe.offline or not recipe.log.grid_every else -(-recipe.train.iterations // recipe.log.grid_every)
    grid = 3 * GRID_CASES * recipe.editor.resolution**2 * PNG_PIXEL
    return Disk(
        download=download,
        conditioning=cases * shape.conditioning(tokens, layout.element),
        checkpoints=kept * one,
        grids=drawn * grid,
        other=lora + recipe.train.iterations * RECORD,
        cache_folder=cache,
        output_folder=Path(recipe.output),
    )


def gb(number: int) -> str:
    """Bytes for a person: 57.7 GB (powers of ten, as disks are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def existing(path: Path) -> Path | None:
    """The nearest folder above a path that is there."""
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
    return None


def _free(path: Path) -> int | None:
    folder = existing(path)
    try:
        return shutil.disk_usage(folder).free if folder else None
    except OSError:
        return None


def _device(path: Path) -> int | None:
    folder = existing(path)
    try:
        return folder.stat().st_dev if folder else None
    except OSError:
        return None
