"""Controls of a run in the mini world: what else than people's preferences would have raised its figures.

    supervised         the base's own supervision for as much computation (`hpedit.mini.control`); the arm "control"
    random_reward      the run's own training with a reward that knows nothing: what sampling from oneself teaches
    clean_supervised   exact targets, for as much computation: a teacher who knows every right answer
    best_of_n          the base, of whose edits the scorer picks the best: what the scorer sees, without training

The base is measured at several numbers of sampling steps, too, and everything is compared at the one that is best for
the base on rated cases, so that no gain is one of a better sampler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpedit.config.recipe import Recipe
from hpedit.mini.control import BATCH, train_control
from hpedit.mini.oracle import score_edit
from hpedit.plan.forwards import iteration_forwards
from hpedit.records import MAX_SCORE, Case, Score
from hpedit.rl.cost import TRAINED
from hpedit.seeds import edit_seed
from hpedit.stats.cluster_mean import mean_ci, paired_gain
from hpedit.stats.ranking import within_cases
from hpedit.store.atomic import atomic_write, dump_json, read_json

if TYPE_CHECKING:
    from hpedit.bench.bench_folder import BenchFolder
    from hpedit.editors.diffusers_editor import DiffusersEditor
    from hpedit.scorer.protocol import Scorer

SUPERVISED, RANDOM, CLEAN, BEST_OF = "supervised", "random_reward", "clean_supervised", "best_of_n"
FOLDER = "controls"
"""Below the run's folder; `supervised` has "control" to itself, as runs of earlier versions."""
STEPS = (2, 4, 8, 16)
"""Sampling steps at which base and post-trained editor are measured."""
TUNED_ON = 96
"""Rated cases on which the base's best number of steps is found, at most."""
CHOSEN = "best_steps.json"
DRAWS = 4
"""n of best of n."""


class RandomReward:
    """A scorer whose scores are drawn uniformly, whatever the edit shows."""

    def __init__(self, seed: int) -> None:
        self.fingerprint = f"random-{seed}"

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """A number from 0 to 5 that follows from the picture's bytes and the seed alone."""
        names = edit_ids or [case.id for case in cases]
        return [Score(name, self.fingerprint, self._draw(image)) for name, image in zip(names, images, strict=True)]

    def _draw(self, image: Image.Image) -> float:
        digest = hashlib.sha256(self.fingerprint.encode() + image.tobytes()).digest()
        return MAX_SCORE * int.from_bytes(digest[:6], "big") / 2**48


def train_controls(out: Path, editor: DiffusersEditor, cases: Sequence[Case], recipe: Recipe) -> None:
    """Train the three controls that are trained; what is done takes no time.

    Args:
        out: The run's folder.
        editor: The base editor; has a control's LoRA in the end.
        cases: Those that RL was trained on.
        recipe: RL's.
    """
    from hpedit.rl.trainer import train

    updates = supervised_updates(recipe)
    train_control(lora_of(out, SUPERVISED).parent, editor, cases, recipe, updates)
    train_control(lora_of(out, CLEAN).parent, editor, cases, recipe, updates, exact=True)
    editor.remove_lora()
    # Of two edits as of twelve, a random reward picks any one: expert iteration then needs no more than two.
    size = 2 if recipe.train.algorithm == "expert_iteration" else recipe.rollout.group_size
    blind = recipe.model_copy(
        update={
            "output": str(lora_of(out, RANDOM).parent),
            "rollout": recipe.rollout.model_copy(update={"group_size": size}),
            "log": recipe.log.model_copy(update={"grid_every": 0, "groups_every": 0}),
            "evaluate": recipe.evaluate.model_copy(update={"every": 0}),
        }
    )
    train(blind, editor=editor, cases=cases, scorer=RandomReward(recipe.seed))


def supervised_updates(recipe: Recipe) -> int:
    """Supervised updates that take as many forwards of the editor as the recipe's training; at least one."""
    forwards = iteration_forwards(recipe, recomputes=False).all * recipe.train.iterations
    return max(1, round(forwards / (TRAINED * BATCH)))


def lora_of(out: Path, control: str) -> Path:
    """Where a trained control's LoRA is."""
    return (out / "control" if control == SUPERVISED else out / FOLDER / control) / "lora"


def best_steps(folder: Path, editor: DiffusersEditor, cases: Sequence[Case], seed: int) -> int:
    """The number of STEPS at which the base's edits of rated cases are best by the oracle; kept in `folder`."""
    file = folder / CHOSEN
    if not file.is_file():
        from hpedit.editors.sampling import edit_cases

        some = cases[:: max(1, len(cases) // TUNED_ON)][:TUNED_ON]
        seeds = [edit_seed(case.id, seed) for case in some]
        means = {}
        for steps in STEPS:
            edits = edit_cases(editor, some, seeds, steps, batch_size=len(some))
            means[steps] = float(np.mean([score_edit(case, edit) for case, edit in zip(some, edits, strict=True)]))
        atomic_write(file, dump_json({"steps": max(means, key=lambda steps: means[steps]), "means": means}))
    return int(read_json(file)["steps"])


def bench_controls(
    out: Path, editor: DiffusersEditor, cases: Sequence[Case], scorer: Scorer, *, seed: int, steps: int, batch: int
) -> dict[str, Any]:
    """Edit the held-out cases with every control, and at every number of steps; what the summary says of them.

    Args:
        out: The run's folder, with base and post-trained editor measured in bench/.
        editor: The editor at the guidance of the benchmark; loses its LoRA.
        cases: Held-out cases with exact targets.
        scorer: The run's.
        seed, steps, batch: Of the benchmark.

    Returns:
        "steps": steps -> {"base", "post"}, the oracle's means; "controls": name -> {"gain", "scorer_gain"} over the
        base; "judge": {"within_spearman", "pick_share", "tasks"} of the scorer within the base's edits of a case.
    """
    from hpedit.bench.benchmark_run import run_bench

    bench = out / "bench"

    def measured(name: str, lora: Path | None, steps: int, scored: Scorer | None, seed: int = seed) -> BenchFolder:
        """The benchmark of one more model or sampler."""
        if lora is None:
            editor.remove_lora()
        else:
            editor.load_lora(lora)
        return run_bench(editor, cases, scored, bench / FOLDER / name, seed=seed, steps=steps, label=name, batch=batch)

    draws = [measured(f"base-{turn}", None, steps, scorer, seed + 1000 * turn) for turn in range(1, DRAWS)]
    curve = {
        count: {
            arm: measured(f"{arm}-{count}-steps", lora, count, None)
            for arm, lora in (("base", None), ("post", out / "train" / "lora"))
        }
        for count in STEPS
        if count != steps
    }
    trained = {name: measured(name, lora_of(out, name), steps, scorer) for name in (RANDOM, CLEAN)}
    return controls_summary(bench, curve, trained, draws, steps)


def controls_summary(
    bench: Path,
    curve: Mapping[int, Mapping[str, BenchFolder]],
    trained: Mapping[str, BenchFolder],
    draws: Sequence[BenchFolder],
    steps: int,
) -> dict[str, Any]:
    """What `bench_controls` returns, from its folders."""
    from hpedit.bench.bench_folder import BenchFolder

    base, post, supervised = (_Scores(BenchFolder.open(bench / name)) for name in ("base", "post", "control"))
    samplers = {count: {arm: _Scores(folder) for arm, folder in arms.items()} for count, arms in curve.items()}
    samplers[steps] = {"base": base, "post": post}
    every = [base, *(_Scores(folder) for folder in draws)]
    picks = np.array([one.scorer for one in every]).argmax(0)
    rows = np.arange(len(picks))
    best = {name: np.array([getattr(one, name) for one in every])[picks, rows] for name in ("oracle", "scorer")}
    arms = {SUPERVISED: supervised} | {name: _Scores(folder) for name, folder in trained.items()}
    return {
        "steps": {
            str(count): {arm: mean_ci(scores.oracle, base.sources).as_dict("mean") for arm, scores in by_arm.items()}
            for count, by_arm in sorted(samplers.items())
        },
        "best_steps": steps,
        "controls": {
            **{name: _gains(base, scores.oracle, scores.scorer) for name, scores in arms.items()},
            BEST_OF: {"n": DRAWS, **_gains(base, best["oracle"], best["scorer"])},
        },
        "judge": _ranking(every, base),
    }


class _Scores:
    """A benchmark folder's scores as columns, (n,) each."""

    def __init__(self, folder: BenchFolder) -> None:
        rows = folder.rows()
        self.ids, self.tasks, self.sources = (
            [getattr(row, name) for row in rows] for name in ("case_id", "task", "source_id")
        )
        self.oracle, self.scorer = (_column(getattr(row, name) for row in rows) for name in ("oracle", "score"))


def _column(values: Iterable[float | None]) -> NDArray[np.float64]:
    """NaN where there is no score."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _gains(base: _Scores, oracle: NDArray[np.float64], scorer: NDArray[np.float64]) -> dict[str, Any]:
    """Gain over the base by oracle and scorer."""
    return {
        "gain": paired_gain(base.oracle, oracle, base.sources).as_dict("mean"),
        "scorer_gain": paired_gain(base.scorer, scorer, base.sources).as_dict("mean"),
    }


def _ranking(every: Sequence[_Scores], base: _Scores) -> dict[str, Any]:
    """How the scorer orders the base's edits within a case, against the oracle."""
    found = np.concatenate([one.scorer for one in every])
    right = np.concatenate([one.oracle for one in every])
    cases, tasks = base.ids * len(every), np.array(base.tasks * len(every))
    known = ~np.isnan(found)

    def figures(rows: NDArray[np.bool_]) -> dict[str, Any]:
        at = np.flatnonzero(rows & known)
        ranked = within_cases(found[at], right[at], [cases[place] for place in at])
        return {"within_spearman": ranked.get("spearman"), "pick_share": ranked.get("pick_share")}

    return {
        **figures(np.ones(len(found), bool)),
        "edits_a_case": len(every),
        "tasks": {task: figures(tasks == task) for task in sorted(set(base.tasks))},
    }
