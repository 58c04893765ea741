"""How good the mini base editor is, by the mini world's oracle, on held-out cases of the bench split.

    python benchmarks/mini_base.py [EDITOR] [--per-task 28] [--split bench] [--best-of 12] [--seed 0] [--json]

Prints the oracle's mean at 2, 4, 8 and 16 sampling steps (same cases and noise), by task at the default of 8, what the
best of 12 edits reaches, the mean picture of several edits, a copy of the source, and the VAE's ceiling: the exact
target sent through the VAE. Intervals are over photo tiles. EDITOR is a folder; the shipped one by default. A setting
is never chosen on the bench split: give another one with --split.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hpedit.editors.load import load_editor
from hpedit.editors.protocol import Conditioning
from hpedit.editors.sampling import edit_cases
from hpedit.mini.oracle import score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Case
from hpedit.stats.cluster_mean import mean_ci, paired_gain
from hpedit.tasks import TASK_IDS

Scores = NDArray[np.float64]

STEPS, COUNTS, BATCH = 8, (2, 4, 8, 16), 56
"""The default number of sampling steps, all that are measured, and edits at once."""
MEANS = (2, 4, 8)
"""Numbers of edits whose mean picture is scored."""


class Bench:
    """Cases, and what the oracle says of edits of them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.sources = [case.source_id for case in cases]
        self.tasks = np.array([case.task for case in cases])

    def scores(self, images: Sequence[Image.Image]) -> Scores:
        """Oracle score of one edit a case."""
        return np.array([score_edit(case, image) for case, image in zip(self.cases, images, strict=True)])

    def figures(self, scores: Scores) -> dict[str, Any]:
        """Mean and interval overall and by task."""

        def interval(rows: NDArray[np.bool_]) -> dict[str, Any]:
            sources = [source for source, kept in zip(self.sources, rows, strict=True) if kept]
            return mean_ci(scores[rows], sources).as_dict("mean")

        return {
            **interval(np.ones(len(scores), bool)),
            "tasks": {task: interval(self.tasks == task) for task in TASK_IDS},
        }


def measure(folder: str, split: str, per_task: int, best_of: int, seed: int) -> dict[str, Any]:
    """All figures of one editor."""
    editor = load_editor(folder, device="cpu")
    bench = Bench(make_cases(embedded_tiles(split), per_task, seed, split))

    def edits(steps: int, first_seed: int) -> list[Image.Image]:
        seeds = [first_seed + number for number in range(len(bench.cases))]
        return edit_cases(editor, bench.cases, seeds, steps, batch_size=BATCH)

    by_steps = {steps: bench.scores(edits(steps, seed)) for steps in COUNTS}
    many = [edits(STEPS, seed + 10_000 * (turn + 1)) for turn in range(best_of)]
    table = np.stack([bench.scores(images) for images in many])
    found: dict[str, Any] = {
        "cases": len(bench.cases),
        "photo_tiles": len(set(bench.sources)),
        "split": split,
        "seed": seed,
        "steps": {str(steps): bench.figures(scores) for steps, scores in by_steps.items()},
        f"best_of_{best_of}": bench.figures(table.max(0)),
        "spread_within_case": bench.figures(table.std(0)),
        "ceiling": bench.figures(bench.scores(through_vae(editor, bench.cases))),
        "copy": bench.figures(bench.scores([case.source for case in bench.cases])),
    }
    found["steps_gain_over_2"] = {
        str(steps): paired_gain(by_steps[2], by_steps[steps], bench.sources).as_dict("mean") for steps in COUNTS[1:]
    }
    found["mean_of"] = {
        str(count): bench.figures(bench.scores([averaged(group[:count]) for group in zip(*many, strict=True)]))
        for count in MEANS
        if count <= best_of
    }
    return found


@torch.no_grad()
def through_vae(editor: Any, cases: Sequence[Case]) -> list[Image.Image]:
    """The exact targets, encoded and decoded."""
    conditioning = Conditioning.cat([editor.encode([case]) for case in cases])
    targets = [case.oracle.target for case in cases if case.oracle is not None]
    decoded: list[Image.Image] = editor.decode(editor.latents(targets), conditioning)
    return decoded


def averaged(images: Sequence[Image.Image]) -> Image.Image:
    """The mean picture."""
    return Image.fromarray(
        np.mean([np.asarray(image, np.float32) for image in images], axis=0).round().astype(np.uint8)
    )


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""

    def row(name: str, figures: dict[str, Any]) -> str:
        low, high = figures["ci95"]
        tasks = "  ".join(f"{figures['tasks'][task]['mean']:10.2f}" for task in TASK_IDS)
        return f"{name:<16}{figures['mean']:6.3f} [{low:5.2f}, {high:5.2f}]  {tasks}"

    print(f"{found['cases']} cases of {found['photo_tiles']} photo tiles of the split {found['split']}")
    print(f"{'':<38}  " + "  ".join(f"{task:>10}" for task in TASK_IDS))
    for steps, figures in found["steps"].items():
        print(row(f"{steps} steps", figures))
    for name, figures in found.items():
        if name.startswith(("best", "spread", "ceiling", "copy")):
            print(row(name.replace("_", " ")[:15], figures))
    for count, figures in found["mean_of"].items():
        print(row(f"mean of {count}", figures))
    for steps, gain in found["steps_gain_over_2"].items():
        print(f"{steps} steps over 2: {gain['mean']:+.3f} [{gain['ci95'][0]:+.3f}, {gain['ci95'][1]:+.3f}]")


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("editor", nargs="?", default="mini")
    parser.add_argument("--per-task", type=int, default=28)
    parser.add_argument("--split", default="bench")
    parser.add_argument("--best-of", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print all figures, by task with intervals, as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found = measure(asked.editor, asked.split, asked.per_task, asked.best_of, asked.seed)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
