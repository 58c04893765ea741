"""Check a recipe for mistakes that its schema can't find: batch, processes, LoRA targets, sources. No torch."""

from __future__ import annotations

import difflib

from hpedit.config.recipe import Recipe
from hpedit.plan.editor_shape import EditorShape
from hpedit.plan.findings import Findings
from hpedit.plan.layout import Layout
from hpedit.plan.memory import most_rows
from hpedit.plan.recipe_inputs import RecipeInputs


def check_recipe(
    recipe: Recipe, shape: EditorShape | None, layout: Layout, data: RecipeInputs, findings: Findings
) -> None:
    """Add an error or warning for each setting that would stop or spoil the run."""
    if recipe.rollout.cfg != 1.0:
        hint = "guidance is not supported in training: training collapses with it; set it to 1"
        findings.error("rollout.cfg is not 1", hint)
    _check_layout(layout, findings)
    _check_processes(recipe, layout, findings)
    _check_micro_batch(recipe, findings)
    if shape is not None:
        _check_lora_targets(recipe, shape, findings)
        if data.sources > shape.most_sources:
            findings.error(
                f"cases have up to {data.sources} sources, and {shape.model} takes {shape.most_sources}",
                hint="leave out such cases, or use Qwen-Image-Edit-2509 or later",
            )


def _check_layout(layout: Layout, findings: Findings) -> None:
    if not layout.accelerator and layout.dtype == "bfloat16":
        findings.warning("bfloat16 on a CPU is slower than float32", hint="set editor.dtype to float32")
    if not layout.accelerator and layout.base != "full":
        findings.error(f"a base of the form {layout.base} needs a GPU", hint="set editor.base to full")
    if layout.base == "offload":
        findings.error("an offloaded base can edit, not train", hint="set editor.offload to none")


def _check_processes(recipe: Recipe, layout: Layout, findings: Findings) -> None:
    """Whole groups are dealt to processes in turn; a remainder leaves some processes idle."""
    groups, processes = recipe.rollout.groups, layout.gpus
    if groups % processes == 0:
        return
    low, high = groups // processes * processes, -(-groups // processes) * processes
    near = f"{low} or {high}" if low else str(high)
    what = "pairs" if recipe.offline else "groups"
    hint = f"set rollout.groups to {near}"
    if groups < processes:
        findings.error(f"{groups} {what} are fewer than {processes} processes", hint=hint)
    else:
        idle = high - groups
        findings.warning(f"{groups} {what} on {processes} processes: {idle} of them idle in the last turn", hint=hint)


def _check_micro_batch(recipe: Recipe, findings: Findings) -> None:
    """Forwards inside a window are padded to their chunk size with rows that are thrown away."""
    size, rows = recipe.rollout.group_size, most_rows(recipe)
    if recipe.offline or size % rows == 0 or rows % size == 0:
        return
    good = max(rows_ for rows_ in range(1, rows + 1) if size % rows_ == 0)
    findings.warning(
        f"train.micro_batch {recipe.train.micro_batch} does not divide a group of {size}: padding rows are wasted",
        hint=f"set train.micro_batch to {good}, or to a multiple of {size}",
    )


def _check_lora_targets(recipe: Recipe, shape: EditorShape, findings: Findings) -> None:
    unmatched = shape.architecture.unmatched(recipe.lora.targets)
    if unmatched:
        endings = shape.architecture.endings()
        near = [name for target in unmatched for name in difflib.get_close_matches(target, endings, n=1)]
        meant = f"did you mean {', '.join(near)}? " if near else ""
        hint = f"{meant}linear layers of this model end in: {', '.join(endings)}"
        findings.error(f"lora.targets match no linear layer: {', '.join(unmatched)}", hint)
