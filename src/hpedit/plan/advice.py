"""What to change in a recipe that does not fit in GPU memory: single changes, each of which makes it fit. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hpedit.config.recipe import Recipe
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.layout import Layout
from hpedit.plan.memory import Memory

Account = Callable[[Recipe, EditorShape, Layout, bool], Memory]
"""(recipe, shape, layout, whether the judge is in process) -> memory."""


def memory_advice(recipe: Recipe, shape: EditorShape, layout: Layout, *, judge: bool, account: Account) -> list[str]:
    """Changes that make a run fit in memory, the mildest first; [] if no single one does.

    Args:
        recipe: The run's recipe.
        shape: Its editor.
        layout: Layout of the base on the GPUs.
        judge: Whether a judge is in process.
        account: Adds up the memory of a changed run.
    """
    found = []
    if judge and account(recipe, shape, layout, False).fits:
        found.append("put the judge on another GPU: fit the scorer with --judge http://HOST:8000/v1#MODEL")
    for text, changed, sized in (*_smaller_batches(recipe, shape), *_smaller_resolution(recipe, shape)):
        if account(changed, sized, layout, judge).fits:
            found.append(text)
            break
    if not layout.accelerator:
        return found
    if layout.dtype == "float32" and account(recipe, shape, replace(layout, dtype="bfloat16"), judge).fits:
        found.append("editor.dtype: bfloat16")
    if layout.base == "full" and account(recipe, shape, replace(layout, base="8bit"), judge).fits:
        found.append("an 8-bit base (editor.base: 8bit)")
    for gpus in () if layout.sharded else (2, 4, 8):
        sharded = replace(layout, gpus=max(gpus, layout.gpus), shard=True)
        if account(recipe, shape, sharded, judge).fits:
            found.append(f"the base sharded over {sharded.gpus} GPUs (FSDP)")
            break
    return found


def _smaller_batches(recipe: Recipe, shape: EditorShape) -> Iterator[tuple[str, Recipe, EditorShape]]:
    """Micro batches that divide a group, the largest first."""
    size = recipe.rollout.group_size
    for rows in range(recipe.train.micro_batch - 1, 0, -1):
        if size % rows == 0 or rows % size == 0:
            train = recipe.train.model_copy(update={"micro_batch": rows})
            yield f"train.micro_batch: {rows}", recipe.model_copy(update={"train": train}), shape


def _smaller_resolution(recipe: Recipe, shape: EditorShape) -> Iterator[tuple[str, Recipe, EditorShape]]:
    for side in (1024, 768, 512, 384, 256):
        if side < shape.resolution:
            sized = replace(shape, resolution=side, source_area=min(shape.source_area, side * side))
            editor = recipe.editor.model_copy(update={"resolution": side})
            yield f"editor.resolution: {side}", recipe.model_copy(update={"editor": editor}), sized
            return
