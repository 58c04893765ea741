"""The demo: `hpedit run` on the packaged recipe demo.yaml, the whole loop in the mini world in minutes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.config.recipe import Recipe
from hpedit.pipeline.recipe import DEMO, RunRecipe, load_run_recipe
from hpedit.pipeline.run import run_pipeline
from hpedit.report.gains import gain_lines


@dataclass(frozen=True, slots=True)
class DemoSize:
    """Size of the demo. The defaults are the recipe's; tests use less."""

    rated_per_task: int = 48
    """Calibration cases a task; each is edited twice."""
    candidates_per_task: int = 40
    bench_per_task: int = 28
    iterations: int = 8
    groups: int = 24
    group_size: int = 8


def demo_run_recipe(
    out: Path, seed: int = 0, size: DemoSize | None = None, photos: Path | None = None, objects: Path | None = None
) -> RunRecipe:
    """The packaged recipe, with the output, seed, size, photographs and cut-outs that are asked for."""
    size = size or DemoSize()
    half, source = max(1, size.iterations // 2), "cases.sources=[{mini: train"
    source += "".join(f", {name}: {_yaml(path)}" for name, path in (("photos", photos), ("objects", objects)) if path)
    return load_run_recipe(
        DEMO,
        [
            f"output={_yaml(out)}", f"seed={seed}", source + "}]",
            f"cases.rated_per_task={size.rated_per_task}", f"cases.train_per_task={size.candidates_per_task}",
            f"cases.bench_per_task={size.bench_per_task}", f"train.iterations={size.iterations}",
            f"rollout.groups={size.groups}", f"rollout.group_size={size.group_size}",
            f"log.grid_every={half}", f"log.groups_every={half}", f"evaluate.every={max(1, size.iterations // 4)}",
        ],
    )  # fmt: skip


def demo_recipe(out: Path, seed: int, size: DemoSize) -> Recipe:
    """The training recipe of the demo, as `hpedit train` takes it."""
    return demo_run_recipe(out, seed, size).training()


def run_demo(
    out: Path, photos: Path | None = None, seed: int = 0, size: DemoSize | None = None, objects: Path | None = None
) -> dict[str, Any]:
    """Run, or continue, the demo in `out`; prints the gain and, last, the report's path, and returns the summary.

    Args:
        out: The run's folder.
        photos: Folder of photographs for the mini world instead of the embedded ones.
        seed: Of all randomness.
        size: Less than the recipe's, for tests.
        objects: Folder of cut-outs (PNG with alpha) that stand in it, instead of the drawn shapes.

    Raises:
        HPEditError: a stage can't do its work; what is done so far stays.
    """
    words = ["hpedit", "demo", "--out", str(out)]
    words += ["--photos", str(photos)] if photos else []
    words += ["--objects", str(objects)] if objects else []
    command = shlex.join([*words, "--seed", str(seed)])
    summary = run_pipeline(demo_run_recipe(Path(out), seed, size, photos, objects), command=command)
    sys.stdout.write("\n".join([*gain_lines(summary), f"report: {Path(out) / 'report.html'}"]) + "\n")
    return summary


def _yaml(path: Path) -> str:
    """A path as a YAML scalar in double quotes."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
