"""Every algorithm on the mini world, with equal budgets, several seeds, and a control.

    hpedit demo --out runs/demo                       # its cases, scorer and ratings are used
    python benchmarks/rl_algorithms.py --demo runs/demo --out runs/algorithms [--seeds 0 1 2] [--budget 13000] [--write]

The budget is in transformer forwards of one edit (a backward counts two): each algorithm gets as many iterations as it
pays for. The reward is the demo's scorer; offline DPO learns from the demo's rated edits instead. What is reported is
the oracle's and the scorer's gain over the base on held-out cases, by photograph and seed; the control is as many
forwards of supervised training. Killed, the same command goes on; `--only NAME` does one row.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hpedit.bench.bench_folder import BenchFolder
from hpedit.bench.benchmark_run import run_bench
from hpedit.cases.folder import CasesFolder
from hpedit.cases.pairs.pair_table import build_pairs
from hpedit.cases.pairs.preferences import PairRules
from hpedit.config.recipe import Recipe
from hpedit.editors.load import load_editor
from hpedit.experiments.seed_statistics import seed_gain
from hpedit.mini.control import BATCH, train_control
from hpedit.mini.world import World
from hpedit.pipeline.controls import RandomReward
from hpedit.plan.forwards import iteration_forwards
from hpedit.ratings.import_export import read_responses
from hpedit.records import Case
from hpedit.report import charts
from hpedit.report.charts import ForestRow, forest_plot
from hpedit.rl.cost import TRAINED
from hpedit.rl.trainer import train
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.stats.intervals import Interval
from hpedit.store.atomic import atomic_write, dump_json, read_json, read_jsonl

BASELINE = Path(__file__).parent / "baselines" / "rl_algorithms.json"
BUDGET = 13_000
"""Forwards: those of the demo's eight iterations."""
STEPS = 4
"""Of the measurement: base and every row."""
GROUPS = {"rollout": {"steps": 8, "groups": 12, "group_size": 12}}
EXPERT: Mapping[str, Mapping[str, Any]] = {
    "train": {"algorithm": "expert_iteration", "learning_rate": 6e-4, "inner_updates": 10, "ema": 0.7},
    "rollout": {"steps": 4, "window": 1, "window_start": (0, 1), "groups": 24, "group_size": 8},
}
"""The demo's own."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "flow_grpo": {"train": {"learning_rate": 6e-4}},
    "flow_grpo, shared noise": {"train": {"learning_rate": 6e-4}, "rollout": {"shared_noise": True}},
    "flow_grpo, dance_sde": {"train": {"learning_rate": 6e-4}, "rollout": {"dynamics": "dance_sde"}},
    "flow_grpo, cps": {"train": {"learning_rate": 6e-4}, "rollout": {"dynamics": "cps"}},
    "grpo_guard": {"train": {"algorithm": "grpo_guard", "learning_rate": 6e-4, "clip": 4e-6}},
    "nft": {"train": {"algorithm": "nft", "learning_rate": 6e-4, "kl": 1e-4}},
    "online_dpo": {"train": {"algorithm": "online_dpo", "learning_rate": 6e-4}, "dpo": {"beta": 200.0}},
    "expert_iteration": EXPERT,
    "expert_iteration, random reward": {**EXPERT, "rollout": {**EXPERT["rollout"], "group_size": 2}},
    "offline_dpo": {
        "train": {"algorithm": "offline_dpo", "learning_rate": 2e-4},
        "rollout": {"groups": 48},
    },
}
"""Name of a row -> what differs from the defaults."""
CONTROL, RANDOM = "control", "expert_iteration, random reward"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--only", choices=[*SETTINGS, CONTROL], action="append")
    parser.add_argument("--set", action="append", default=[], help="train.learning_rate=1e-3, for trials")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--plot", type=Path, help="HTML file for a picture of the table")
    parser.add_argument("--write", action="store_true", help="keep the figures as the baseline")
    asked = parser.parse_args()
    rows = asked.only or [*SETTINGS, CONTROL]
    study = Study(asked.demo, asked.out, asked.budget)
    if not asked.table:
        for seed in asked.seeds:
            for name in rows:
                study.do(name, seed)
    table = study.table(rows, asked.seeds)
    print(as_text(table))
    if asked.plot:
        atomic_write(asked.plot, as_page(table))
    if asked.write:
        atomic_write(BASELINE, dump_json(table))


class Study:
    """One folder of runs: a training and a benchmark for each row and seed, and the base's benchmark."""

    def __init__(self, demo: Path, out: Path, budget: int) -> None:
        self.demo, self.out, self.budget = demo, out, budget
        self.scorer = HPScorer.load(demo / "scorer")
        self.cases = list(CasesFolder(demo / "cases").kept())
        self.held_out = World(None, None).cases("bench", 28, 0)

    def do(self, name: str, seed: int) -> None:
        """Train and measure one row with one seed, and the base, unless that was done."""
        self._measure(self.out / "base", None)
        folder = self.out / f"{slug(name)}-{seed}"
        editor = load_editor("mini")
        if name == CONTROL:
            updates = self.budget // (BATCH * TRAINED)
            recipe = self._recipe("flow_grpo", seed, folder, iterations=updates)
            lora = train_control(folder / "train", editor, self.cases, recipe, updates)
        else:
            recipe = self._recipe(name, seed, folder, iterations=self._iterations(name))
            scorer = RandomReward(seed) if name == RANDOM else self.scorer
            lora = train(recipe, editor=editor, cases=self.cases, scorer=scorer).lora
        self._measure(folder / "bench", lora)

    def _recipe(self, name: str, seed: int, folder: Path, *, iterations: int) -> Recipe:
        settings = SETTINGS[name]
        train_section = {**settings["train"], "iterations": iterations}
        return Recipe.model_validate(
            {
                "seed": seed,
                "output": str(folder / "train"),
                "cases": str(self.demo / "cases"),
                "scorer": str(self.demo / "scorer"),
                "scorer_force": True,
                "rollout": {**GROUPS["rollout"], **settings.get("rollout", {})},
                "train": train_section,
                "dpo": {**settings.get("dpo", {}), "pairs": str(self._pairs()) if name == "offline_dpo" else None},
                "log": {"tensorboard": False, "grid_every": 0},
            }
        )

    def _iterations(self, name: str) -> int:
        """What the budget pays for, no group being skipped."""
        if name == RANDOM:
            return self._iterations("expert_iteration")
        recipe = self._recipe(name, 0, self.out, iterations=1)
        return max(1, round(self.budget / iteration_forwards(recipe, recomputes=False).all))

    def _pairs(self) -> Path:
        """The demo's rated edits as pairs; no photograph of them is among the held-out ones."""
        file = self.out / "pairs.parquet"
        if not file.exists():
            self.out.mkdir(parents=True, exist_ok=True)
            ratings, rules = self.demo / "ratings", PairRules(margin=0.5, floor=1.0)
            responses = list(read_responses(ratings / "ratings.csv"))
            build_pairs(responses, [ratings / "cases.parquet"], [ratings / "edits.parquet"], file, rules)
        return file

    def _measure(self, folder: Path, lora: Path | None) -> None:
        editor = load_editor("mini", lora=lora)
        run_bench(editor, self.held_out, self.scorer, folder, steps=STEPS, label=folder.parent.name, batch=48)

    def table(self, names: list[str], seeds: list[int]) -> dict[str, Any]:
        """All rows that are there."""
        base = {row.case_id: row for row in BenchFolder.open(self.out / "base").rows()}
        by_case = {case.id: case for case in self.held_out}
        rows = {}
        for name in names:
            folders = [self.out / f"{slug(name)}-{seed}" for seed in seeds]
            done = [folder for folder in folders if (folder / "bench" / "result.json").exists()]
            if not done:
                continue
            benches = [BenchFolder.open(folder / "bench").rows() for folder in done]
            rows[name] = {
                measure: seed_gain([gains(base, bench, by_case, measure) for bench in benches]).as_dict()
                for measure in ("oracle", "score")
            } | costs(done)
        return {
            "budget": self.budget,
            "cases": len(self.held_out),
            "base": {m: sum(getattr(r, m) for r in base.values()) / len(base) for m in ("oracle", "score")},
            "rows": rows,
        }


def gains(base: Mapping[str, Any], bench: list[Any], cases: Mapping[str, Case], measure: str) -> dict[str, list[float]]:
    """Source photograph -> paired gains of its cases."""
    found: dict[str, list[float]] = {}
    for row in bench:
        after, before = getattr(row, measure), getattr(base[row.case_id], measure)
        if after is not None and before is not None:
            found.setdefault(cases[row.case_id].source_id, []).append(after - before)
    return found


def costs(folders: list[Path]) -> dict[str, Any]:
    """Iterations, forwards and seconds of a training, means over seeds; the control's updates are its iterations."""
    found = []
    for folder in folders:
        records = read_jsonl(folder / "train" / "metrics.jsonl")
        if records:
            seconds = sum(sum(r.get(f"seconds_{p}", 0.0) for p in ("rollout", "score", "train")) for r in records)
            found.append((len(records), sum(r["forwards"] for r in records), seconds))
        else:
            updates = int(read_json(folder / "train" / "result.json")["updates"])
            found.append((updates, updates * BATCH * TRAINED, float("nan")))
    names = ("iterations", "forwards", "seconds")
    means = {name: sum(row[i] for row in found) / len(found) for i, name in enumerate(names)}
    return {name: None if value != value else value for name, value in means.items()}


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return name.replace(", ", "-").replace(" ", "_")


def as_text(table: Mapping[str, Any]) -> str:
    """Markdown, readable as it is."""
    lines = ["| | oracle | scorer | iterations | forwards | s |", "|---|---|---|---|---|---|"]
    for name, row in table["rows"].items():
        cells = [
            f"{row['oracle']['mean']:+.3f} {interval(row['oracle'])}",
            f"{row['score']['mean']:+.3f} {interval(row['score'])}",
        ]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {row['iterations']:.0f} | {row['forwards']:,.0f} | {seconds} |")
    return "\n".join(lines)


def as_page(table: Mapping[str, Any]) -> str:
    """The gains as one picture, by the oracle and by the scorer."""
    rows = [
        ForestRow(name, Interval(row[key]["mean"], *(row[key]["ci95"] or (None, None))), group=words)
        for key, words in (("oracle", "by the oracle"), ("score", "by the scorer, which gave the reward"))
        for name, row in table["rows"].items()
    ]
    style = (Path(charts.__file__).parent / "style.css").read_text(encoding="utf-8")
    picture = forest_plot(rows, label="gains", axis="gain over the base, in points of 0-5")
    return f"<!doctype html><meta charset=utf-8><style>{style}</style><main style='width:560px'>{picture}</main>"


def interval(gain: Mapping[str, Any]) -> str:
    """[low, high], or nothing where it is not known."""
    return "" if gain["ci95"] is None else "[{:+.3f}, {:+.3f}]".format(*gain["ci95"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
