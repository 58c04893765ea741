"""The demo over several seeds: gain, controls, sampling steps and the judge, with intervals over seeds and photographs.

    python benchmarks/demo_seeds.py [--out runs/demo-seeds] [--seeds 0 1 2 3 4] [--photos DIR] [--name demo] [--write]

Each seed is a whole `hpedit demo`; what is done takes no time. Both editors are measured at the number of sampling
steps that is the base's best on rated cases. --write keeps the figures as benchmarks/baselines/NAME.json, from which
`make figures` writes those in README and docs.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.bench.bench_folder import BenchFolder, BenchRow
from hpedit.experiments.demo import DemoSize, run_demo
from hpedit.experiments.seed_statistics import seed_gain
from hpedit.pipeline.controls import BEST_OF, CLEAN, RANDOM, SUPERVISED
from hpedit.stats.cluster_mean import mean_ci
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.tasks import TASK_IDS

BASELINES = Path(__file__).parent / "baselines"
CONTROLS = (RANDOM, SUPERVISED, BEST_OF, CLEAN)
Measure = Callable[[BenchRow], float | None]


def main() -> None:
    """Run what is missing, then print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--photos", type=Path, help="photographs of one's own")
    parser.add_argument("--objects", type=Path, help="cut-outs of one's own")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--write", action="store_true", help="keep the figures as the baseline")
    asked = parser.parse_args()
    seconds = []
    for seed in asked.seeds:
        began = time.monotonic()
        run_demo(asked.out / str(seed), asked.photos, seed, DemoSize(), asked.objects)
        seconds.append(round(time.monotonic() - began))
    found = figures([asked.out / str(seed) for seed in asked.seeds])
    found |= {"seeds": asked.seeds, "seconds": seconds, "commit": commit()}
    print(dump_json(found))
    if asked.write:
        atomic_write(BASELINES / f"{asked.name}.json", dump_json(found))


def commit() -> str:
    """The commit that is checked out, with + if files differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run(["git", "status", "--porcelain", "src"], capture_output=True, text=True, check=True).stdout
    return head.strip() + ("+" if changed else "")


def figures(runs: Sequence[Path]) -> dict[str, Any]:
    """All figures of finished demos, one a seed."""
    arms = [{name: BenchFolder.open(run / "bench" / name).rows() for name in ("base", "post")} for run in runs]
    summaries = [read_json(run / "summary.json") for run in runs]

    def gain(measure: Measure, task: str | None = None) -> dict[str, Any]:
        """Of the post-trained editor over the base, by seed and photograph; of one seed by photograph alone."""
        gains = [paired(arm["base"], arm["post"], measure, task) for arm in arms]
        if len(gains) > 1:
            return seed_gain(gains).as_dict()
        each = [(gain, source) for source, values in gains[0].items() for gain in values]
        return mean_ci([gain for gain, _ in each], [source for _, source in each]).as_dict("mean")

    def mean(*path: str) -> float:
        """Over the seeds, of one figure of the summaries."""
        return float(np.mean([at(summary, path) for summary in summaries]))

    counts = list(summaries[0]["steps"])
    return {
        "cases": len(arms[0]["base"]),
        "oracle": {
            "base": mean("oracle", "base", "mean"),
            "post": mean("oracle", "post", "mean"),
            "gain": gain(lambda row: row.oracle),
            "low_share": {arm: mean("oracle", "low_share", arm) for arm in ("base", "post")},
            "high_share": {arm: mean("oracle", "high_share", arm) for arm in ("base", "post")},
        },
        "scorer": {
            "base": mean("scorer", "base", "mean"),
            "post": mean("scorer", "post", "mean"),
            "gain": gain(lambda row: row.score),
        },
        "tasks": {task: gain(lambda row: row.oracle, task) for task in TASK_IDS},
        "best_steps": [summary["best_steps"] for summary in summaries],
        "steps": {n: {arm: mean("steps", n, arm, "mean") for arm in ("base", "post")} for n in counts},
        "controls": {name: mean("controls", name, "gain", "mean") for name in CONTROLS},
        "controls_by_seed": {
            name: [at(summary, ("controls", name, "gain", "mean")) for summary in summaries] for name in CONTROLS
        },
        "judge": {name: mean("judge", name) for name in ("within_spearman", "pick_share")},
    }


def at(block: Any, path: Sequence[str]) -> Any:
    """What a nested mapping holds at a path."""
    for name in path:
        block = block[name]
    return block


def paired(
    base: Sequence[BenchRow], post: Sequence[BenchRow], measure: Measure, task: str | None
) -> Mapping[str, list[float]]:
    """Source photograph -> gains of its cases, of one task or all."""
    found: dict[str, list[float]] = {}
    for before, after in zip(base, post, strict=True):
        one, two = measure(before), measure(after)
        if one is not None and two is not None and task in (None, before.task):
            found.setdefault(before.source_id, []).append(two - one)
    return found


if __name__ == "__main__":
    main()
