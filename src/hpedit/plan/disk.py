"""Disk space: what is downloaded, and what a run writes, in bytes. No torch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpedit.config.recipe import Recipe
from hpedit.plan.activations import FLOAT
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.forwards import ALGORITHMS
from hpedit.plan.layout import Layout
from hpedit.plan.memory import lora_parameter_count, optimizer_bytes
from hpedit.plan.timing import GRID_CASES
from hpedit.plan.transformer_layers import Tokens

RECORD = 2_000
"""Bytes of one iteration in metrics.jsonl and TensorBoard."""
PNG_PIXEL = 2
"""Bytes of a pixel of a grid, about."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a run adds to the disks of the hub's cache and of its output folder."""

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
        """Free bytes on the disks of cache and output; None if it can't be found out."""
        return _free_bytes(self.cache_folder), _free_bytes(self.output_folder)

    def lacking(self) -> list[str]:
        """A sentence for each disk that is too small; one disk has to hold both if both folders are on it."""
        needs = [(self.cache_folder, self.download), (self.output_folder, self.output)]
        cache, output = _disk_device(self.cache_folder), _disk_device(self.output_folder)
        if cache == output and _free_bytes(self.output_folder) is not None:
            needs = [(self.output_folder, self.download + self.output)]
        found = []
        for folder, need in needs:
            free = _free_bytes(folder)
            if free is not None and need > free:
                space = f"{format_bytes(free)} free, and {format_bytes(need)} are needed"
                found.append(f"the disk of {folder} has {space}")
        return found


def run_disk_use(
    recipe: Recipe, shape: EditorShape, tokens: Tokens, layout: Layout, *, download: int, cases: int, cache: Path
) -> Disk:
    """Disk space that a training run needs; `cases` is how many cases will be encoded."""
    layers, rank = shape.architecture.adapted(recipe.lora.targets), recipe.lora.rank
    lora = FLOAT * lora_parameter_count(layers, rank)
    old = lora if ALGORITHMS[recipe.train.algorithm].old_policy else 0
    checkpoint = 2 * lora + optimizer_bytes(layers, rank) + old
    # One more than are kept: the new one is written before the oldest is removed.
    kept = min(recipe.checkpoint.keep + 1, -(-recipe.train.iterations // recipe.checkpoint.every))
    drawn = 0 if recipe.offline or not recipe.log.grid_every else -(-recipe.train.iterations // recipe.log.grid_every)
    return Disk(
        download=download,
        conditioning=cases * shape.conditioning(tokens, layout.element),
        checkpoints=kept * checkpoint,
        grids=drawn * 3 * GRID_CASES * shape.resolution**2 * PNG_PIXEL,
        other=lora + recipe.train.iterations * RECORD,
        cache_folder=cache,
        output_folder=Path(recipe.output),
    )


def format_bytes(number: int) -> str:
    """Bytes as people read them: 57.7 GB (powers of ten, as disks are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def nearest_folder(path: Path) -> Path | None:
    """The path itself or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.absolute().parents) if folder.is_dir()), None)


def _free_bytes(path: Path) -> int | None:
    try:
        folder = nearest_folder(path)
        return shutil.disk_usage(folder).free if folder else None
    except OSError:
        return None


def _disk_device(path: Path) -> int | None:
    try:
        folder = nearest_folder(path)
        return folder.stat().st_dev if folder else None
    except OSError:
        return None
