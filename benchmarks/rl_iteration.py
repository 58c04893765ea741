"""One iteration of post-training, ours against the schedules of public trainers, on the same editor, cases and scorer.

    python benchmarks/rl_iteration.py --scorer RUN/scorer [--repeats 5] [--arms windowed,ours] [--write]

All arms run in one process, in turns, so that what else the machine does meets all of them; ratios are within a turn.
Cases are new in every iteration: what a cache gains from seeing a case twice is not in the figures. Where the scorer's
folder does not exist, a small one is fitted there first.

`--full-architecture` measures our iteration on a GPU with Qwen-Image-Edit-2509's own architecture and random weights;
see `full_architecture.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")
import torch
from public_schedules import KINDS, PublicTrainer
from rl_meters import counted_rows, flops_of, product_ceiling, watched_memory

from hpedit.config.recipe import Recipe
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.editors.load import load_editor
from hpedit.experiments.demo import demo_recipe
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Case
from hpedit.rl.algorithms.protocol import UpdateContext
from hpedit.rl.online import Online
from hpedit.rl.parallel.processes import SingleProcess
from hpedit.rl.policy import LoraPolicy
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.rl.sampler import CaseSampler
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import derive_seed
from hpedit.store.atomic import atomic_write, dump_json

BASELINE = Path(__file__).parent / "baselines" / "rl_iteration.json"
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours_shared": {"rollout": {"shared_noise": True}},
    "ours_guard": {"train": {"algorithm": "grpo_guard"}},
    "ours_nft": {"train": {"algorithm": "nft", "kl": 1e-4}, "rollout": {"steps": 6}, "nft": {"levels": 5}},
    "ours_nft_2": {"train": {"algorithm": "nft"}},
    "ours_dpo": {"train": {"algorithm": "online_dpo"}},
}
PHASES = ("encode", "rollout", "judge", "train")


@dataclass(slots=True)
class Arm:
    """One way to spend an iteration."""

    name: str
    editor: DiffusersEditor
    iterate: Callable[[int], dict[str, float]]
    """Seconds by phase, waiting for the judge under "judge"."""
    images: int
    parameters: dict[str, torch.nn.Parameter]
    average: dict[str, torch.Tensor]
    """What would be exported."""
    done: int = 0


def recipe_of(changes: dict[str, Any], *, groups: int, size: int, seed: int = 0) -> Recipe:
    """The demo's recipe with some changes."""
    values = demo_recipe(Path("unused"), seed, _size(groups, size)).model_dump()
    for section, changed in changes.items():
        values[section] |= changed
        if changed.get("steps"):
            values[section]["window_start"] = (0, changed["steps"] - 3)
    return Recipe.model_validate(values)


def _size(groups: int, size: int) -> Any:
    from hpedit.experiments.demo import DemoSize

    return DemoSize(groups=groups, group_size=size)


def timed_encode(editor: Any) -> list[float]:
    """Have an editor note the seconds that it spends on encoding; their sum is the list's only element."""
    spent, encode = [0.0], editor.encode

    def noted(cases: Any) -> Any:
        began = time.perf_counter()
        found = encode(cases)
        spent[0] += time.perf_counter() - began
        return found

    editor.encode = noted
    return spent


def our_arm(name: str, editor: Any, cases: list[Case], scorer: Scorer, recipe: Recipe) -> Arm:
    """Our trainer's iteration, without the run folder around it."""
    editor.add_lora(recipe.lora, derive_seed(recipe.seed, "lora"))
    policy = LoraPolicy(editor, recipe.train)
    context = UpdateContext(recipe, editor, policy, recomputes=editor.device.type == "cuda")
    sampler = CaseSampler(len(cases), recipe.seed)
    online = Online(context, cases, Rewards({MAIN: scorer}, {MAIN: 1.0}), sampler, SingleProcess())
    spent = timed_encode(editor)

    def iterate(iteration: int) -> dict[str, float]:
        spent[0] = 0.0
        record = online.iterate(iteration)
        policy.update_average(iteration)
        return {
            "encode": spent[0],
            "rollout": record["seconds_rollout"] - spent[0],
            "judge": record["seconds_score"],
            "train": record["seconds_train"],
            "judge_thread": record["seconds_judge"],
        }

    images = recipe.rollout.groups * recipe.rollout.group_size
    return Arm(name, editor, iterate, images, policy.parameters, policy.average)


def public_arm(name: str, editor: DiffusersEditor, cases: list[Case], scorer: Scorer, recipe: Recipe) -> Arm:
    """A public trainer's iteration."""
    trainer = PublicTrainer(KINDS[name], editor, cases, scorer, recipe)
    images = recipe.rollout.groups * recipe.rollout.group_size
    return Arm(name, editor, trainer.iterate, images, trainer.parameters, trainer.average)


def make_arm(name: str, cases: list[Case], scorer: Scorer, groups: int, size: int, seed: int = 0) -> Arm:
    """An arm by name, with an editor of its own."""
    editor = load_editor("mini", device="cpu")
    make = public_arm if name in KINDS else our_arm
    return make(name, editor, cases, scorer, recipe_of(OURS.get(name, {}), groups=groups, size=size, seed=seed))


def clocks() -> dict[str, float]:
    """Seconds: on the wall, of all threads at work, and of this one, in which all but the judge runs."""
    return {"wall": time.perf_counter(), "cpu": time.process_time(), "own": time.thread_time()}


def turn(arm: Arm) -> dict[str, Any]:
    """One iteration of an arm, measured."""
    with counted_rows(arm.editor.pipeline.transformer) as rows:
        began = clocks()
        phases = arm.iterate(arm.done)
        spent = {name: now - began[name] for name, now in clocks().items()}
    arm.done += 1
    return {**spent, "plain": rows.plain, "trained": rows.trained, **phases}


def flops_per_row(arm: Arm, cases: list[Case], rows: int = 12) -> tuple[float, float]:
    """Floating-point operations of one row: of a forward, and of a forward with its backward."""
    editor = arm.editor
    conditioning = editor.encode([cases[0]]).select([0] * rows)
    x, s = editor.initial_noise(conditioning, range(rows)), torch.full((rows,), 0.5)

    def plain() -> None:
        with torch.no_grad():
            editor.velocity(x, s, conditioning)

    def trained() -> None:
        editor.velocity(x, s, conditioning).sum().backward()

    found = flops_of(plain) / rows, flops_of(trained) / rows
    for parameter in editor.lora_parameters().values():
        parameter.grad = None
    return found


def summary(turns: list[dict[str, Any]], arm: Arm, flops: tuple[float, float], ceiling: float) -> dict[str, Any]:
    """An arm's figures: medians over turns."""

    def middle(key: str) -> float:
        return statistics.median(turn[key] for turn in turns)

    spent = {phase: sum(turn[phase] for turn in turns) for phase in PHASES}
    wall = sum(turn["wall"] for turn in turns)
    plain, trained = (sum(turn[key] for turn in turns) for key in ("plain", "trained"))
    work = plain * flops[0] + trained * flops[1]
    n = arm.images
    return {
        "seconds_per_image": middle("wall") / n,
        "cpu_seconds_per_image": middle("cpu") / n,
        "own_cpu_seconds_per_image": middle("own") / n,
        "forwards_per_image": (plain + 3 * trained) / len(turns) / n,
        "shares": {phase: seconds / wall for phase, seconds in spent.items()},
        "judge_thread_seconds": middle("judge_thread"),
        # Of all that this thread did, encoding and decoding included.
        "mfu": work / sum(turn["own"] for turn in turns) / ceiling,
        "gflop_per_image": work / len(turns) / n / 1e9,
    }


def ratios(turns: dict[str, list[dict[str, Any]]], ours: str, key: str) -> dict[str, float]:
    """How many times the seconds of `ours` each other arm takes: the median over turns."""
    return {
        name: statistics.median(a[key] / b[key] for a, b in zip(theirs, turns[ours], strict=True))
        for name, theirs in turns.items()
    }


def measure(names: list[str], scorer: Scorer, *, repeats: int, groups: int, size: int) -> dict[str, Any]:
    """All arms in turns."""
    cases = make_cases(embedded_tiles("train"), -(-groups * (repeats + 2) // 8), 0, "train")
    arms = [make_arm(name, cases, scorer, groups, size) for name in names]
    ceilings = [product_ceiling(torch.float32, torch.device("cpu"))]
    turns: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    memory: dict[str, int] = {}
    for arm in arms:  # warm up, and the peak of memory
        found: dict[str, int] = {}
        with watched_memory(found):
            turn(arm)
        memory[arm.name] = found["peak"]
    for number in range(repeats):
        for arm in arms[number % len(arms) :] + arms[: number % len(arms)]:
            turns[arm.name].append(turn(arm))
            sys.stderr.write(f"{number + 1}/{repeats} {arm.name}: {turns[arm.name][-1]['wall']:.1f} s\n")
        ceilings.append(product_ceiling(torch.float32, torch.device("cpu")))
    flops, ceiling = flops_per_row(arms[0], cases), max(ceilings)
    result: dict[str, Any] = {
        "arms": {arm.name: summary(turns[arm.name], arm, flops, ceiling) for arm in arms},
        "groups": groups, "group_size": size, "repeats": repeats, "threads": torch.get_num_threads(),
        "ceiling_gflops": ceiling / 1e9, "gflop_per_row": [one / 1e9 for one in flops],
        "turns": turns,
    }  # fmt: skip
    for arm in arms:
        result["arms"][arm.name]["peak_mb"] = memory[arm.name] / 2**20
    for ours in (name for name in names if name in OURS):
        result["arms"][ours]["times_slower"] = {key: ratios(turns, ours, key) for key in ("wall", "cpu", "own")}
    return result


def table(result: dict[str, Any]) -> str:
    """80 columns at most."""
    lines = [
        f"{'':14}{'s/image':>8}{'cpu s':>7}{'own':>7}{'forwards':>9}{'enc':>5}{'roll':>5}{'judg':>5}{'trn':>5}"
        f"{'MFU':>5}{'MB':>5}"
    ]
    for name, arm in result["arms"].items():
        shares = [f"{arm['shares'][phase]:.0%}" for phase in PHASES]
        lines.append(
            f"{name:14}{arm['seconds_per_image']:8.4f}{arm['cpu_seconds_per_image']:7.4f}"
            f"{arm['own_cpu_seconds_per_image']:7.4f}{arm['forwards_per_image']:9.1f}{shares[0]:>5}{shares[1]:>5}{shares[2]:>5}{shares[3]:>5}"
            f"{arm['mfu']:5.2f}{arm['peak_mb']:5.0f}"
        )
    for name, arm in result["arms"].items():
        for key in ("wall", "cpu", "own") if "times_slower" in arm else ():
            said = ", ".join(f"{other} {x:.2f}" for other, x in arm["times_slower"][key].items() if other in KINDS)
            if said:
                lines.append(f"{name} is faster ({key}): {said}")
    return "\n".join(lines)


def ready_scorer(folder: Path) -> HPScorer:
    """The scorer in `folder`; a small one is fitted if there is none."""
    from hpedit.experiments.demo_scorer import prepare_scorer, rate_edits

    if not (folder / "scorer.json").is_file():
        cases = make_cases(embedded_tiles("calibration"), 24, 0, "calibration")
        rated = rate_edits(folder.parent / f"{folder.name}-ratings", load_editor("mini"), cases, 0, 8)
        return prepare_scorer(folder, rated, 0)
    return HPScorer.load(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", type=Path, default=Path("runs/rl_iteration/scorer"))
    parser.add_argument("--arms", default=",".join((*KINDS, *OURS)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--groups", type=int, help="12 unless given")
    parser.add_argument("--group-size", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to leave the figures")
    parser.add_argument("--write", action="store_true", help="keep them as the baseline")
    full = parser.add_argument_group("the real architecture", "groups are 2 unless given")
    full.add_argument("--full-architecture", action="store_true")
    full.add_argument("--smoke", action="store_true", help="one narrow layer on the CPU")
    full.add_argument("--layers", type=int, default=60)
    full.add_argument("--micro-batch", type=int, default=8)
    full.add_argument("--shared-noise", action="store_true")
    full.add_argument("--compile", action="store_true", help="compile the repeated block")
    asked = parser.parse_args()
    if asked.full_architecture:
        import full_architecture

        asked.groups = asked.groups or 2
        return full_architecture.run(asked)
    asked.groups = asked.groups or 12
    torch.set_num_threads(asked.threads)
    result = measure(
        asked.arms.split(","), ready_scorer(asked.scorer),
        repeats=asked.repeats, groups=asked.groups, size=asked.group_size,
    )  # fmt: skip
    print(table(result))
    if asked.json:
        atomic_write(asked.json, json.dumps(result, indent=1))
    if asked.write:
        atomic_write(BASELINE, dump_json({key: value for key, value in result.items() if key != "turns"}))
    return None


if __name__ == "__main__":
    main()
