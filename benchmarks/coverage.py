"""How often intervals hold the truth and verdicts err, on simulated benchmarks, runs and seeds whose truth is known.

    python benchmarks/coverage.py --write      # and keep the figures in benchmarks/baselines/
    python benchmarks/coverage.py --benches 100 --json

Everything goes through the functions that `bench compare`, `bench seeds` and training use; nothing is measured on
pictures. Each row is `--benches` simulated benchmarks. docs/bench.md has the tables.

rows: no model is better. A photo has one or two cases of each of eight tasks; gains vary by photo (deviation 0.3), by
photo and task (0.2) and by case (0.6). uneven: the same, but every fifth photo has six times as many cases, which
differ little. disasters: 95 % of the edits gain 0.1 and 5 % lose 1.9, so that the mean is 0. alone: the same in a
benchmark of one task, where no other tasks show what its few photos have not met.
seeds: trainings that differ by a deviation, measured on the same photographs.
alarms: runs of 18 evaluations of 48 held-out cases of 24 photos by scorer, second judge and oracle, whose scores have a
deviation of 0.5: nothing changes ("noise"), all rise by 0.5 ("gain"), or the scorer alone does ("hack").
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchRow
from hpedit.bench.instrument_figures import InstrumentScores, correct_overall, instrument_figures
from hpedit.bench.model_verdict import model_verdict
from hpedit.bench.pixel_measures import PIXEL_MEASURES
from hpedit.experiments.seed_statistics import seed_gain
from hpedit.rl.monitor.evaluations import Evaluation, HeldOutTable
from hpedit.rl.monitor.train_alarms import find_alarms
from hpedit.tasks import TASK_IDS

BASELINE = Path(__file__).parent / "baselines" / "coverage.json"
PHOTOS = (5, 8, 10, 20, 40)
SEEDS = tuple((seeds, spread, photos) for seeds in (3, 5) for photos in (30, 100) for spread in (0.0, 0.05, 0.1, 0.2))
RUNS = ("noise", "gain", "hack")
EVALUATIONS, HELD_OUT, SPREAD = 18, 48, 0.5
UNTOUCHED = dict.fromkeys(PIXEL_MEASURES, 0.2) | {"closeness": 1.0, "displacement": 0.0}
EDITED = UNTOUCHED | {"closeness": 0.85, "displacement": 0.15}
"""Mean measures of the sources, and of edits."""
Array = NDArray[np.float64]


def simulated_gains(kind: str, photo: NDArray[np.int64], task: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Gains (n,) of a model that is no better, by the photo and task of each case."""
    if kind in ("disasters", "alone"):
        return np.where(rng.random(len(photo)) < 0.05, -1.9, 0.1) + rng.normal(0, 0.05, len(photo))
    by_photo, by_task = rng.normal(0, 0.3, photo.max() + 1), rng.normal(0, 0.2, (photo.max() + 1, len(TASK_IDS)))
    return by_photo[photo] + by_task[photo, task] + rng.normal(0, 0.15 if kind == "uneven" else 0.6, len(photo))


def simulated_bench(kind: str, photos: int, rng: np.random.Generator) -> dict[str, Any]:
    """The figures of one benchmark of base and post, by an oracle."""
    counts = rng.integers(1, 3, (photos, 1 if kind == "alone" else len(TASK_IDS)))
    if kind == "uneven":
        counts[rng.random(photos) < 0.2] *= 6
    photo, task = (np.repeat(place, counts.ravel()) for place in np.indices(counts.shape).reshape(2, -1))
    rows = [BenchRow(str(i), str(i), TASK_IDS[t], f"p{p}", 0) for i, (p, t) in enumerate(zip(photo, task, strict=True))]
    base = rng.uniform(1, 4, len(rows))
    values = {"base": base, "post": base + simulated_gains(kind, photo, task, rng)}
    figures = instrument_figures(InstrumentScores("oracle", "Oracle", "", True, values, {}), rows, True)
    correct_overall([figures])
    return figures


def bench_row(kind: str, photos: int, benches: int) -> dict[str, Any]:
    """Coverage of the intervals overall and by task, and the shares of benchmarks with a star or a verdict."""
    held, held_by_task, starred, judged = [], [], [], []
    for number in range(benches):
        figures = simulated_bench(kind, photos, np.random.default_rng([number, photos]))
        models = [block["models"]["post"] for block in (figures["overall"], *figures["tasks"].values())]
        first, *rest = (low <= 0 <= high for low, high in (model["gain"]["ci95"] for model in models))
        held.append(first)
        held_by_task += rest
        starred.append(any(model["gain"]["clear"] for model in models[1:]))
        judged.append(model_verdict([figures], "post").tone in ("good", "bad"))
    shares = {"coverage": held, "task_coverage": held_by_task, "family_error": starred, "verdict_error": judged}
    return {"photos": photos} | {name: round(float(np.mean(found)), 4) for name, found in shares.items()}


def seed_row(seeds: int, spread: float, photos: int, benches: int) -> dict[str, Any]:
    """Coverage of the interval over seeds, for trainings that differ by the deviation `spread`."""
    held = []
    for number in range(benches):
        rng = np.random.default_rng([number, seeds, round(100 * spread), photos])
        photo = np.repeat(np.arange(photos), rng.integers(1, 5, photos))
        level, ends = rng.normal(0, 0.3, photos), np.flatnonzero(np.diff(photo)) + 1
        gains = []
        for luck in rng.normal(0, spread, seeds):
            values = (luck + level + rng.normal(0, 0.15, photos))[photo] + rng.normal(0, 0.4, len(photo))
            gains.append({f"p{i}": part.tolist() for i, part in enumerate(np.split(values, ends))})
        found = seed_gain(gains)
        held.append(found.low <= 0 <= found.high)
    return {"seeds": seeds, "spread": spread, "photos": photos, "coverage": round(float(np.mean(held)), 4)}


def alarm_row(kind: str, runs: int) -> dict[str, Any]:
    """Share of simulated runs with an alarm by judges or pixels."""
    alarmed = [bool(run_alarms(kind, np.random.default_rng([number, RUNS.index(kind)]))) for number in range(runs)]
    return {"run": kind, "evaluations": EVALUATIONS, "alarmed": round(float(np.mean(alarmed)), 4)}


def run_alarms(kind: str, rng: np.random.Generator) -> list[str]:
    """The kinds of alarms of one simulated run."""
    level = rng.uniform(1.5, 3.5, HELD_OUT)
    rises = {"noise": (0.0, 0.0), "gain": (0.5, 0.5), "hack": (0.5, 0.0)}[kind]

    def evaluation(step: int) -> Evaluation:
        """All scores and measures at one step: rises reach their end half-way."""
        part = min(1.0, 2 * step / EVALUATIONS)
        scores = {
            name: (level + part * rise + rng.normal(0, SPREAD, HELD_OUT)).tolist()
            for name, rise in zip(("scorer", "second", "oracle"), (rises[0], rises[1], rises[1]), strict=True)
        }
        pixels = {name: (level + rng.normal(0, 0.05, HELD_OUT)).tolist() for name, level in EDITED.items()}
        return Evaluation(step, scores, pixels)

    cases = [{"id": f"c{i}", "task": TASK_IDS[i % 8], "source_id": f"p{i // 2}"} for i in range(HELD_OUT)]
    table = HeldOutTable(cases, {name: [value] * HELD_OUT for name, value in UNTOUCHED.items()}, evaluation(0))
    rewards: list[float] = []
    found: list[str] = []
    for step in range(1, EVALUATIONS + 1):
        rewards += (0.5 + 0.1 * rises[0] * step / EVALUATIONS + rng.normal(0, 0.02, 2)).tolist()
        table.evaluations.append(evaluation(step))
        found += [alarm.kind for alarm in find_alarms(table, rewards, planned=EVALUATIONS)]
    return found


def simulate(benches: int) -> dict[str, Any]:
    """All tables."""
    return {
        "benches": benches,
        "rows": [bench_row("even", photos, benches) for photos in PHOTOS],
        "uneven": [bench_row("uneven", photos, benches) for photos in PHOTOS],
        "disasters": [bench_row("disasters", photos, benches) for photos in PHOTOS],
        "alone": [bench_row("alone", photos, benches) for photos in (*PHOTOS, 100)],
        "seeds": [seed_row(*one, benches) for one in SEEDS],
        "alarms": [alarm_row(kind, benches) for kind in RUNS],
    }


def tables(result: Mapping[str, Any]) -> str:
    """The figures as the Markdown tables of docs/bench.md."""
    titles = {"rows": "no effect", "uneven": "no effect, uneven photos"}
    titles |= {"disasters": "small gains, rare disasters", "alone": "the same, one task alone"}
    benches = [
        (title, row["photos"], *(f"{row[name]:.3f}" for name in ("coverage", "task_coverage")),
         *(f"{row[name]:.3f}" if row["photos"] >= 8 else "none" for name in ("family_error", "verdict_error")))
        for key, title in titles.items() for row in result[key]
    ]  # fmt: skip
    seeds = [(row["seeds"], f"{row['spread']:g}", row["photos"], f"{row['coverage']:.3f}") for row in result["seeds"]]
    alone = "the scorer rises by 0.5, second judge and oracle do not"
    said = {"noise": "nothing changes", "gain": "all rise by 0.5", "hack": alone}
    runs = [(said[row["run"]], row["evaluations"], f"{row['alarmed']:.3f}") for row in result["alarms"]]
    return "\n\n".join(
        (
            _table(("gains", "photos", "overall", "by task", "a wrong star", "a wrong verdict"), benches),
            _table(("seeds", "deviation of seeds", "photos", "interval holds the truth"), seeds),
            _table(("run", "evaluations", "runs with an alarm"), runs),
        )
    )


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with figures to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in cells)} |" for cells in lines)


def main() -> None:
    """Simulate, print, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--benches", type=int, default=2000, help="simulated benchmarks, seeds' sets and runs a row")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help=f"keep them in {BASELINE.name}")
    asked = parser.parse_args()
    result = simulate(asked.benches)
    text = json.dumps(result, indent=1)
    if asked.write:
        BASELINE.write_text(text + "\n")
    print(text if asked.json else tables(result))


if __name__ == "__main__":
    main()
