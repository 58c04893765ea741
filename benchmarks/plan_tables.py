"""Print the page of plan tables, one row for each training recipe that needs a GPU; offline, in seconds, without torch.

HF_HUB_OFFLINE=1 python benchmarks/plan_tables.py > docs/plan_tables.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpedit.config.recipe import load_recipe
from hpedit.plan.estimate import plan_run
from hpedit.plan.memory import GIB

ROOT = Path(__file__).parents[1]
MACHINES = (
    ("1x24gb", "RTX-4090", 1, "One GPU of 24 GB"),
    ("1x48gb", "L40S", 1, "One GPU of 48 GB"),
    ("1x80gb", "H100", 1, "One GPU of 80 GB"),
    ("8x80gb", "H100", 8, "Eight GPUs of 80 GB"),
    ("4x8x80gb", "H100", 32, "Four machines of eight GPUs of 80 GB"),
)
"""End of a recipe's name, kind of GPU, their number, heading."""
HEAD = """# Plan tables

What `hpedit plan` says of the shipped recipes on the machines that they are for: planned, not measured on them. Written
by `benchmarks/plan_tables.py`; how each figure comes about is in [plan.md](plan.md). Memory is that of one GPU in GiB
while cases are encoded, edits are sampled and the policy is trained, with up to 1,024 encoded cases kept; the judge is
on another GPU. Time is the transformer's alone, at 40 % of the data sheet's rate. Sizes are decimal GB.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *(line for machine in MACHINES for line in section(*machine))]).rstrip() + "\n"


def section(ending: str, gpu: str, gpus: int, heading: str) -> Iterator[str]:
    """Lines of one machine's table, quantities down and recipes across."""
    files = sorted((ROOT / "recipes").glob(f"*_{ending}.yaml"))
    plans = []
    for file in files:
        recipe = load_recipe(file)
        plans.append((recipe, plan_run(recipe, file.stem, gpu=gpu, gpus=gpus, measure=False)))
    yield f"## {heading}\n"
    yield f"`--gpu {gpu}" + (f" --gpus {gpus}`\n" if gpus > 1 else "`\n")
    yield row(["", *(f"`{file.stem.removesuffix('_' + ending)}`" for file in files)])
    yield "|---|" + "---:|" * len(files)
    columns = [column(recipe, plan) for recipe, plan in plans]
    for name in columns[0]:
        yield row([name, *(found[name] for found in columns)])
    yield ""


def column(recipe: Any, plan: dict[str, Any]) -> dict[str, str]:
    """One recipe's cells by their row."""
    memory, time, disk = plan["memory"], plan["time"], plan["disk"]
    share = memory["peak"] / memory["available"]
    return {
        "algorithm": plan["algorithm"],
        "base": recipe.editor.base if recipe.editor.base != "full" else str(recipe.editor.dtype),
        "LoRA rank": str(recipe.lora.rank),
        "edits an iteration": str(plan["forwards"]["units_per_iteration"]),
        "rows of a forward, at most": str(recipe.train.micro_batch),
        **{phase: f"{memory['totals'][phase] / GIB:.1f}" for phase in ("encode", "sample", "train")},
        "available": f"{memory['available'] / GIB:.1f}",
        "verdict": f"{'fits' if memory['fits'] else 'DOES NOT FIT'}, {share:.0%}",
        "minutes an iteration": f"{time['iteration'] / 60:.1f}",
        "hours of the run": f"{time['run'] / 3600:.1f}",
        "download, GB": f"{disk['download'] / 1e9:.1f}",
        "output, GB": f"{disk['output'] / 1e9:.1f}",
    }


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(), end="")
