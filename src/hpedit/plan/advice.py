"""What to change in a recipe that does not fit its GPU: single changes, each of which makes it fit. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hpedit.config.recipe import Recipe
from hpedit.plan.layout import Layout
from hpedit.plan.memory import Memory
from hpedit.plan.shape import EditorShape

Account = Callable[[Recipe, EditorShape, Layout, bool], Memory]
"""(recipe, shape, layout, whether the judge is in process) -> memory."""


def advise(recipe: Recipe, shape: EditorShape, layout: Layout, *, judge: bool, account: Account) -> list[str]:
    """Changes that make it fit, the mildest first; [] where no single one does.

    Args:
        recipe: Of the run.
        shape: Of its editor.
        layout: Of its base.
        judge: Whether a judge is in process.
        account: Adds up the memory of a changed run.
    """
    found = []
    if judge and account(recipe, shape, layout, False).fits:
        found.append("put the judge on another GPU: fit the scorer with --judge http://HOST:8000/v1#MODEL")
    for text, changed, sized in [*_smaller_batches(recipe, shape), *_smaller_pictures(recipe, shape)]:
        if account(changed, sized, layout, judge).fits:
            found.append(text)
            if text.startswith("train.micro_batch"):
                break
    if layout.accelerator and layout.dtype == "float32":
        found += _fitting("editor.dtype: bfloat16", replace(layout, dtype="bfloat16"), recipe, shape, judge, account)
    if layout.accelerator and layout.base == "full":
        form = "an 8-bit base (editor.base: 8bit)"
        found += _fitting(form, replace(layout, base="8bit"), recipe, shape, judge, account)
    if layout.accelerator and not layout.cut:
        for gpus in (2, 4, 8):
            sharded = replace(layout, gpus=max(gpus, layout.gpus), shard=True)
            text = f"the base sharded over {sharded.gpus} GPUs (FSDP)"
            if fitting := _fitting(text, sharded, recipe, shape, judge, account):
                found += fitting
                break
    return found


def _fitting(text: str, layout: Layout, recipe: Recipe, shape: EditorShape, judge: bool, account: Account) -> list[str]:
    return [text] if account(recipe, shape, layout, judge).fits else []


def _smaller_batches(recipe: Recipe, shape: EditorShape) -> Iterator[tuple[str, Recipe, EditorShape]]:
    """Micro batches that divide a group, the largest first."""
    size = recipe.rollout.group_size
    for rows in range(recipe.train.micro_batch - 1, 0, -1):
        if size % rows == 0 or rows % size == 0:
            train = recipe.train.model_copy(update={"micro_batch": rows})
            yield f"train.micro_batch: {rows}", recipe.model_copy(update={"train": train}), shape


def _smaller_pictures(recipe: Recipe, shape: EditorShape) -> Iterator[tuple[str, Recipe, EditorShape]]:
    for side in (1024, 768, 512, 384, 256):
        if side < shape.resolution:
            sized = replace(shape, resolution=side, source_area=min(shape.source_area, side * side))
            editor = recipe.editor.model_copy(update={"resolution": side})
            yield f"editor.resolution: {side}", recipe.model_copy(update={"editor": editor}), sized
            return
