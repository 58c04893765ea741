"""The jobs of an ablation's processes: calibrate, edit and score the pool, measure the base, train and measure a cell.

Every job writes into its own folder below the ablation's and skips what is already there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpedit.bench.bench_folder import BenchFolder
from hpedit.bench.benchmark_run import run_bench
from hpedit.cases.hardness import FilterDecision, count_decisions, decide_hardness, edit_candidates, score_edits
from hpedit.cases.recipe import FilterSection
from hpedit.config.recipe import Recipe
from hpedit.editors.load import load_editor
from hpedit.editors.protocol import Editor
from hpedit.errors import HPEditError
from hpedit.experiments.demo import demo_run_recipe
from hpedit.judges.loading import load_judge
from hpedit.mini.world import World
from hpedit.pipeline.ratings import rate_by_simulation
from hpedit.pipeline.scorer import prepare_scorer
from hpedit.records import Case
from hpedit.rl.trainer import train
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.scorer.protocol import Scorer
from hpedit.scorer.uncalibrated import UncalibratedScorer
from hpedit.store.atomic import read_json, write_json
from hpedit.tasks import TASK_IDS

BATCH = 48
DEMO = demo_run_recipe(Path("unused"))
STEPS, LEARNING_RATE = 8, 6e-4
POOL_CHUNK = 60
"""Cases of the pool that are edited and scored between writes."""
FILTER = FilterSection(by="informative", scorer="calibrated")
"""Candidates for hard cases: the filter with its default bounds."""
SCORER, CHOICE, PLAIN = "scorer", "choice.json", "plain.json"


@dataclass(frozen=True, slots=True)
class AblationSize:
    """Size of one seed's runs, with a pool to choose hard cases from."""

    rated_per_task: int = 48
    """Calibration cases a task; each is edited twice."""
    pool_per_task: int = 120
    """Candidates per task; the raw cases are the first, the hard ones those whose scores vary most."""
    edits_per_case: int = 4
    """Edits of each candidate whose scores decide if it is hard."""
    cases_per_task: int = 40
    """Training cases a task, equal in all cells; fewer where the filter leaves a task fewer."""
    bench_per_task: int = 40
    iterations: int = 36
    groups: int = 12
    group_size: int = 12


@dataclass(frozen=True, slots=True)
class AblationJob:
    """A unit of work for one process."""

    kind: Literal["scorer", "pool", "base", "cell"]
    out: Path
    """The ablation's folder."""
    world: World
    size: AblationSize
    seed: int
    cases: str = ""
    """For a cell: "raw" or "hard"."""
    scorer: str = ""
    """For a cell: "plain" or "calibrated"."""

    @property
    def name(self) -> str:
        """The cell, "hard+plain", or the kind."""
        return f"{self.cases}+{self.scorer}" if self.kind == "cell" else self.kind

    @property
    def folder(self) -> Path:
        """Folder of its results."""
        return self.out / SCORER if self.kind == "scorer" else seed_folder(self.out, self.seed) / self.name


def seed_folder(out: Path, seed: int) -> Path:
    """The folder of one seed of an ablation."""
    return out / f"seed-{seed}"


def run_job(job: AblationJob) -> None:
    """Run an ablation job, resuming what is done."""
    {"scorer": _calibrate, "pool": _pool, "base": _base, "cell": _cell}[job.kind](job)


def _calibrate(job: AblationJob) -> None:
    """The one calibrated scorer of all seeds: reward of two cells, filter, and an instrument."""
    cases = job.world.cases("calibration", job.size.rated_per_task, job.seed)
    rated = rate_by_simulation(job.out, load_editor("mini"), cases, job.seed, STEPS)
    prepare_scorer(job.folder, rated, DEMO.judge, DEMO.scorer, seed=job.seed)


def _candidates(job: AblationJob) -> list[Case]:
    return job.world.cases("train", job.size.pool_per_task, job.seed)


def _pool(job: AblationJob) -> None:
    """Edit and score the candidates, and choose the raw and the hard ones among them."""
    cases, folder = _candidates(job), job.folder
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHOICE).exists():
        return
    editor, scorer = load_editor("mini"), HPScorer.load(job.out / SCORER)
    values: dict[str, list[float | None]] = {}
    for start in range(0, len(cases), POOL_CHUNK):
        part, file = cases[start : start + POOL_CHUNK], folder / f"scores-{start:05d}.json"
        if not file.exists():
            edits = edit_candidates(part, editor, job.size.edits_per_case, job.seed, STEPS, BATCH)
            rows = score_edits(part, edits, scorer, BATCH)
            found = {case.id: [s.value for s in row] for case, row in zip(part, rows, strict=True)}
            write_json(file, found)
        values |= read_json(file)
    write_json(folder / CHOICE, choose_raw_and_hard(cases, values, job.size.cases_per_task))


def choose_raw_and_hard(
    cases: Sequence[Case], values: Mapping[str, Sequence[float | None]], per_task: int
) -> dict[str, Any]:
    """Raw and hard cases, equal in number for each task, and the filters' counts on the whole pool.

    Raw are the first candidates of a task: the scenes are random. Hard are, of those that the informative filter keeps,
    the ones with the largest standard deviation of scores, since advantages come from differences within a group. The
    filter alone drops almost nothing in the mini world.

    Args:
        cases: The pool.
        values: The scores of each one's edits by the calibrated scorer.
        per_task: Cases wanted of a task.

    Raises:
        HPEditError: the filter keeps nothing.
    """
    decisions = decide_hardness(values, FILTER)
    chosen: dict[str, list[str]] = {"raw": [], "hard": []}
    for task in TASK_IDS:
        names = [case.id for case in cases if case.task == task]
        kept = sorted((n for n in names if decisions[n].kept), key=lambda n: (-(decisions[n].std or 0.0), n))
        count = min(per_task, len(kept))
        chosen["raw"] += names[:count]
        chosen["hard"] += kept[:count]
    if not chosen["hard"]:
        raise HPEditError("no candidate is informative: there is nothing to train on", hint="take a larger pool")
    tasks = {case.id: case.task for case in cases}
    solved = decide_hardness(values, FilterSection(by="drop-solved", scorer="calibrated"))
    return {
        **chosen,
        "pool": len(cases),
        "informative": count_decisions(decisions, tasks),
        "drop_solved": count_decisions(solved, tasks),
        "described": {name: _described([decisions[n] for n in chosen[name]]) for name in ("raw", "hard")}
        | {"pool": _described(list(decisions.values()))},
        "in_both": len(set(chosen["raw"]) & set(chosen["hard"])),
    }


def _described(decisions: Sequence[FilterDecision]) -> dict[str, float]:
    """Means of the cases' mean scores and of the deviations of their scores."""
    means = [decision.mean for decision in decisions if decision.mean is not None]
    stds = [decision.std for decision in decisions if decision.std is not None]
    return {"mean": math.fsum(means) / len(means), "std": math.fsum(stds) / len(stds)}


def _base(job: AblationJob) -> None:
    _measure(job, load_editor("mini"))


def _cell(job: AblationJob) -> None:
    editor = load_editor("mini")
    choice = read_json(seed_folder(job.out, job.seed) / "pool" / CHOICE)
    by_id = {case.id: case for case in _candidates(job)}
    cases = [by_id[name] for name in choice[job.cases]]
    scorer: Scorer = (
        UncalibratedScorer(load_judge("mini")) if job.scorer == "plain" else HPScorer.load(job.out / SCORER)
    )
    result = train(_recipe(job), editor=editor, cases=cases, scorer=scorer)
    editor.load_lora(result.lora)
    _measure(job, editor)


def _recipe(job: AblationJob) -> Recipe:
    """Flow-GRPO, as in the paper; cases and scorer are passed in, these are only their names.

    Expert iteration, the demo's algorithm, would only see the order within a group, which calibration hardly changes.
    """
    size = job.size
    own = {"seed": job.seed, "output": str(job.folder / "train"), "cases": job.cases, "scorer": job.scorer}
    rollout = {"steps": STEPS, "group_size": size.group_size, "groups": size.groups}
    training = {"iterations": size.iterations, "learning_rate": LEARNING_RATE}
    log = {"tensorboard": False, "grid_every": 0, "groups_every": 0}
    # Cells are judged on separate held-out cases, so all training cases are trained on.
    return Recipe.model_validate({**own, "rollout": rollout, "train": training, "log": log, "evaluate": {"every": 0}})


def _measure(job: AblationJob, editor: Editor) -> None:
    """Edit the held-out cases; score them by oracle and calibrated scorer, and by the plain one."""
    cases = job.world.cases("bench", job.size.bench_per_task, job.seed)
    scorer = HPScorer.load(job.out / SCORER)
    folder = run_bench(
        editor, cases, scorer, job.folder / "bench", seed=job.seed, steps=STEPS, label=job.name, batch=BATCH
    )
    if not (job.folder / PLAIN).exists():
        write_json(job.folder / PLAIN, _plain_scores(cases, folder))


def _plain_scores(cases: Sequence[Case], folder: BenchFolder) -> dict[str, float | None]:
    """The plain scorer's value of each case's edit; None if unscorable."""
    edits = {edit.case_id: edit for edit in folder.edits()}
    scores = UncalibratedScorer(load_judge("mini")).score(cases, [edits[case.id].image for case in cases])
    return {case.id: score.value for case, score in zip(cases, scores, strict=True)}
