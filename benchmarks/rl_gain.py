"""What the arms of `rl_iteration.py` gain on held-out cases, by the mini world's oracle, after equally many edits.

    python benchmarks/rl_gain.py train --demo RUN --out DIR --arm ours --iterations 36
    python benchmarks/rl_gain.py bench --demo RUN --out DIR --iterations 36

RUN is a folder of `hpedit demo`, whose training cases and scorer are used. The LoRA of each arm (its average) is kept
every few iterations; the second command edits held-out cases with each of them and prints gains with intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")
import torch
from public_schedules import KINDS, OLD
from rl_iteration import OURS, Arm, make_arm

from hpedit.bench.before_after import before_after_summary
from hpedit.bench.benchmark_run import run_bench
from hpedit.cases.folder import CasesFolder
from hpedit.editors.load import load_editor
from hpedit.experiments.demo import STEPS
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.store.atomic import append_jsonl, atomic_write


def save(arm: Arm, folder: Path) -> None:
    """Write the average as a LoRA; the arm is left as it was."""
    transformer = arm.editor.pipeline.transformer
    kept = {name: p.detach().clone() for name, p in arm.parameters.items()}
    old = {n: p.detach().clone() for n, p in transformer.named_parameters() if f".{OLD}." in n}
    with torch.no_grad():
        for name, parameter in arm.parameters.items():
            parameter.copy_(arm.average[name])
        arm.editor.save_lora(folder)
        for name, parameter in arm.parameters.items():
            parameter.copy_(kept[name])
    assert all(torch.equal(p, old[n]) for n, p in transformer.named_parameters() if n in old)


def train(name: str, demo: Path, out: Path, iterations: int, every: int, seed: int) -> None:
    """Train one arm on the demo's cases."""
    cases = list(CasesFolder(demo / "cases").kept())
    if name in KINDS:
        torch.manual_seed(seed)
        order = torch.randperm(len(cases)).tolist()
        cases = [cases[i] for i in order]
    arm = make_arm(name, cases, HPScorer.load(demo / "scorer"), 12, 12, seed)
    for iteration in range(iterations):
        began = time.process_time()
        arm.iterate(iteration)
        record = {"arm": name, "seed": seed, "step": iteration + 1, "cpu": time.process_time() - began}
        append_jsonl(out / f"{name}-{seed}.jsonl", record)
        if (iteration + 1) % every == 0 or iteration + 1 == iterations:
            save(arm, out / f"{name}-{seed}-{iteration + 1:03d}")


def bench(demo: Path, out: Path, iterations: int, per_task: int, seed: int) -> None:
    """Gains of all arms that have been trained so far."""
    cases = make_cases(embedded_tiles("bench"), per_task, 0, "bench")
    scorer, editor = HPScorer.load(demo / "scorer"), load_editor("mini", device="cpu")
    asked = {"seed": 0, "steps": STEPS, "batch": 48}
    base = run_bench(editor, cases, scorer, out / "bench" / "base", label="base", **asked)
    for name in (*KINDS, *OURS):
        folder = out / f"{name}-{seed}-{iterations:03d}"
        if not folder.is_dir():
            continue
        editor.load_lora(folder)
        post = run_bench(editor, cases, scorer, out / "bench" / folder.name, label=folder.name, **asked)
        found = before_after_summary({"base": base, "post": post})
        gain = {key: found[key]["gain"] for key in ("oracle", "scorer")}
        atomic_write(out / f"gain-{folder.name}.json", json.dumps({"arm": name, "n": found["n"], **gain}, indent=1))
        said = [f"{key} {g['mean']:+.3f} [{g['ci95'][0]:+.3f}, {g['ci95'][1]:+.3f}]" for key, g in gain.items()]
        print(f"{name:14} {iterations:3} iterations, seed {seed}: {', '.join(said)}", flush=True)


def main() -> None:
    """Train an arm, or measure those that have been."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "bench"))
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", default="ours")
    parser.add_argument("--iterations", type=int, default=36)
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--per-task", type=int, default=28)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.what == "train":
        for name in asked.arm.split(","):
            train(name, asked.demo, asked.out, asked.iterations, asked.every, asked.seed)
    else:
        bench(asked.demo, asked.out, asked.iterations, asked.per_task, asked.seed)


if __name__ == "__main__":
    main()
