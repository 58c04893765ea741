"""Sample grids during training: source, base edit and current edit of the same cases and seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from hpedit.config.recipe import Recipe
from hpedit.editors.protocol import TrainableEditor
from hpedit.editors.sampling import edit_cases
from hpedit.records import Case
from hpedit.rl.online import Experience
from hpedit.seeds import derive_seed
from hpedit.store.atomic import atomic_write
from hpedit.store.grids import GridRow, make_grid

GRID_CASES = 6
"""Rows of a sample grid."""
GRIDS = "grids"
"""Their folder in a run's."""
SEEN = 256
"""Cases among which they are chosen: each of them has to be decoded."""


class SampleGrids:
    """Writes grids/iteration_NNNNNN.png; an observer of `hpedit.rl.monitor.observer`."""

    def __init__(self, folder: Path, editor: TrainableEditor, cases: Sequence[Case], recipe: Recipe) -> None:
        """Choose the cases, as many tasks as there are, and make the base's edits."""
        self.folder, self.editor, self.recipe = folder, editor, recipe
        self.cases = _varied(cases)
        with editor.lora_disabled():
            self.before = self._edits()

    def after(self, iteration: int, made: Experience | None) -> dict[str, Any]:  # noqa: ARG002
        """Draw a grid when it is due, and after the last iteration."""
        done = iteration + 1
        if done % self.recipe.log.grid_every == 0 or done == self.recipe.train.iterations:
            self._write(done)
        return {}

    def _edits(self) -> list[Image.Image]:
        seeds = [derive_seed(self.recipe.seed, "grid", index) for index in range(len(self.cases))]
        steps, batch = self.recipe.rollout.steps, self.recipe.train.micro_batch
        return edit_cases(self.editor, self.cases, seeds, steps, batch_size=batch)

    def _write(self, done: int) -> None:
        rows = [
            GridRow(case.instruction, (case.source, *pair))
            for case, *pair in zip(self.cases, self.before, self._edits(), strict=True)
        ]
        buffer = io.BytesIO()
        make_grid(rows).save(buffer, "PNG")
        self.folder.mkdir(exist_ok=True)
        atomic_write(grid_file(self.folder, done), buffer.getvalue())


def grid_file(folder: Path, done: int) -> Path:
    """The file of the grid after `done` iterations, whether it is there or not."""
    return folder / f"iteration_{done:06d}.png"


def _varied(cases: Sequence[Case]) -> list[Case]:
    """A few cases of as many tasks as there are among the first."""
    first: dict[str, Case] = {}
    others: list[Case] = []
    for case in islice(cases, SEEN):
        if case.task not in first:
            first[case.task] = case
        elif len(others) < GRID_CASES:
            others.append(case)
        if len(first) == GRID_CASES:
            break
    return [*first.values(), *others][:GRID_CASES]
