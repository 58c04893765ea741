"""Plan all stages of a run before anything starts: memory, disk, time, and every mistake at once. No torch.

    plan = plan_stages(recipe, "mine/recipe.yaml", gpu="H100", gpus=8)
    plan["stages"], plan["errors"]

The training is planned as `hpedit plan` plans its recipe; of the other stages the edits, their forwards and the judge's
questions are counted. Until the cases are there, their numbers are what the recipe allows at most.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpedit.cases.sources.base import OpenedSource
from hpedit.editors.usual import usual_by_name
from hpedit.errors import HPEditError
from hpedit.pipeline.changes import settings_to_claim
from hpedit.pipeline.recipe import RunRecipe
from hpedit.pipeline.splits import BENCH, FOLDER, RATED, TRAIN
from hpedit.plan.disk import nearest_folder
from hpedit.plan.estimate import DEFAULT_CASES, Around, plan_run
from hpedit.plan.fetching import find_judges
from hpedit.plan.findings import Findings
from hpedit.plan.judge_memory import JudgeUse, ScorerUse
from hpedit.plan.recipe_inputs import RecipeInputs, read_scorers
from hpedit.scorer.probes.kinds import KINDS
from hpedit.scorer.prompts import LIBRARY
from hpedit.store.run_folder import check_folder
from hpedit.tasks import TASK_IDS

ASKED: Final = 1 + sum(map(len, LIBRARY.values())) / len(LIBRARY)
"""Questions about an edit at most, a mean over the tasks: the score and the whole library."""
RATINGS: Final = "ratings"
RATED_FILES: Final = ("cases.parquet", "edits.parquet", "ratings.csv")
"""As in hpedit.pipeline.ratings, whose module needs torch."""


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """Cases of each split."""

    rated: int
    train: int
    bench: int
    sources: int
    """Most source pictures of a case."""
    known: bool
    """Whether they were read from the splits; else they are the most that the recipe and its sources allow."""


def plan_stages(
    recipe: RunRecipe, name: str, *, gpu: str | None = None, gpus: int = 1, measure: bool | None = None
) -> dict[str, Any]:
    """Plan a run of `hpedit run`, changing nothing.

    Args:
        recipe: All of it.
        name: What to call it.
        gpu: Kind of GPU of the machine that will run it; None = this machine.
        gpus: Processes of the training, one per GPU; the other stages use one.
        measure: Time one training step of the editor here; None = only if there is a GPU.

    Returns:
        The plan of the training, as `plan.estimate.plan_run` gives it, with "cases" (of each split), "stages" (name,
        edits, forwards, questions, seconds; None = unknown) and "editing" (memory while other stages edit).

    Raises:
        HPEditError: `gpu` is not in the table. Whatever is wrong with the recipe is in the plan's "errors".
    """
    findings = Findings()
    _check_folders(recipe, findings)
    counts = count_cases(recipe, findings)
    training = recipe.training()
    scorers = [_coming_scorer(recipe), *read_scorers([one.scorer for one in recipe.rewards], training, findings)]
    _check_ratings(recipe, findings)
    _check_judges(recipe, findings, elsewhere=gpu is not None)
    _check_enough(recipe, counts, findings)
    batches = {"cases.edits.batch": recipe.cases.edits.batch, "bench.batch": recipe.bench.batch}
    most = {
        "cases.edits.batch": max(counts.rated, counts.train * recipe.cases.edits.per_candidate),
        "bench.batch": counts.bench,
    }
    around = Around(
        RecipeInputs(counts.train, counts.sources, tuple(scorers)),
        _kept_edits(recipe, counts),
        {key: max(1, min(rows, most[key])) for key, rows in batches.items()},
        findings,
    )
    plan = plan_run(training, name, gpu=gpu, gpus=gpus, measure=measure, around=around)
    return plan | {"cases": asdict(counts), "stages": _stages(recipe, counts, plan)}


def refuse_mistakes(plan: Mapping[str, Any]) -> None:
    """HPEditError with all errors of a plan, if it has any."""
    errors = plan["errors"]
    if not errors:
        return
    if len(errors) == 1:
        raise HPEditError(errors[0]["message"], hint=errors[0]["hint"] or "--no-plan starts it all the same")
    lines = [f"  {one['message']}" + (f" ({one['hint']})" if one["hint"] else "") for one in errors]
    raise HPEditError(
        f"{len(errors)} mistakes\n" + "\n".join(lines), hint="nothing was started; --no-plan starts it all the same"
    )


def count_cases(recipe: RunRecipe, findings: Findings) -> CaseCounts:
    """Cases of the splits: those that are there, or the most that there can be; errors for sources without any."""
    section, tasks = recipe.cases, len(TASK_IDS)
    if section.mini is not None:
        for path in (section.mini.photos, section.mini.objects):
            if path is not None and not Path(path).is_dir():
                findings.error(f"{path} is not a folder", hint="give a folder of pictures")
        train = (section.train_per_task or 0) * tasks
        return CaseCounts(section.rated_per_task * tasks, train, section.bench_per_task * tasks, 1, False)
    there = {name: recipe.path / FOLDER / f"{name}.parquet" for name in (RATED, TRAIN, BENCH)}
    if all(path.is_file() for path in there.values()):
        import pyarrow.parquet as pq

        rows = {name: int(pq.read_metadata(path).num_rows) for name, path in there.items()}
        return CaseCounts(rows[RATED], rows[TRAIN], rows[BENCH], 1, True)
    candidates = _candidates(recipe, findings)
    known = candidates is not None
    number = DEFAULT_CASES if candidates is None else candidates
    if section.balance.count is not None:
        number = min(number, section.balance.count)
    borrowed = recipe.ratings.run is not None
    shares = {RATED: 0.0 if borrowed else section.rated_share, BENCH: section.bench_share}
    rated = min(section.rated_per_task * tasks, round(number * shares[RATED])) if known else section.rated_per_task
    bench = min(section.bench_per_task * tasks, round(number * shares[BENCH])) if known else section.bench_per_task
    if not known:
        rated, bench = rated * tasks, bench * tasks
    train = round(number * (1 - section.rated_share - section.bench_share))
    if section.train_per_task is not None:
        train = min(train, section.train_per_task * tasks)
    return CaseCounts(0 if borrowed else rated, train, bench, 1, False)


def _candidates(recipe: RunRecipe, findings: Findings) -> int | None:
    """Most cases that the sources give; None where that can't be told without reading them all."""
    from hpedit.cases.sources import open_source

    total: int | None = 0
    for number, section in enumerate(recipe.cases.sources):
        with findings.collecting():
            found = _count_source(open_source(section, number, Path.cwd(), recipe.seed))
            if section.kind != "cases" and found is not None:
                found = min(found, section.count or found) * recipe.cases.instructions.per_photo
            total = None if found is None or total is None else total + found
    return total


def _count_source(source: OpenedSource) -> int | None:
    """Photographs, or ready cases, of one source; None = unknown. HPEditError where it can't be read."""
    if source.section.kind == "folder":
        from hpedit.cases.sources.photo_folder import is_picture

        return sum(1 for name in source.items() if is_picture(name))
    if source.section.kind in ("cases", "parquet"):
        import pyarrow.parquet as pq

        # Both read tables of rows.
        files: list[Path] = source.files()  # type: ignore[attr-defined]
        return sum(int(pq.read_metadata(file).num_rows) for file in files)
    next(source.items(), None)
    return None


def _coming_scorer(recipe: RunRecipe) -> ScorerUse:
    """The scorer that the run will fit, as if it kept every question."""
    return ScorerUse(str(recipe.path / "scorer"), (_judge(recipe.judge, recipe.scorer.revision, ASKED),), "ok", "")


def _judge(name: str, revision: str | None, questions: float) -> JudgeUse:
    served = name.startswith(("http://", "https://"))
    return JudgeUse(name, revision, tuple(name.partition("#")[0].split(",")) if served else (), questions)


def _check_folders(recipe: RunRecipe, findings: Findings) -> None:
    """What is in the run's folder must be this run, and what the recipe names must be there."""
    with findings.collecting():
        check_folder(recipe.path, "run", settings_to_claim(recipe))
    above = nearest_folder(recipe.path)
    if above is not None and not os.access(above, os.W_OK):
        findings.error(f"{above} is not writable, so the run's folder can't be made", hint="set output")
    for key, path in (
        *((f"cases.duplicates.exclude[{n}]", path) for n, path in enumerate(recipe.cases.duplicates.exclude)),
        ("cases.instructions.objects", recipe.cases.instructions.objects),
        ("evaluate.cases", recipe.evaluate.cases),
        ("evaluate.second_judge", recipe.evaluate.second_judge),
    ):
        if path is not None and not Path(path).exists():
            findings.error(f"{key}: {path} does not exist", hint="paths are relative to the working directory")


def _check_ratings(recipe: RunRecipe, findings: Findings) -> None:
    """Where the ratings are to come from, unless they are there."""
    section = recipe.ratings
    if (recipe.path / RATINGS / RATED_FILES[-1]).is_file():
        return
    if section.run is not None:
        other = Path(section.run) / RATINGS
        missing = [name for name in RATED_FILES if not (other / name).is_file()]
        if missing:
            findings.error(f"ratings.run: {other} has no {missing[0]}", hint="name a run whose edits were rated")
    if section.file is not None and not Path(section.file).is_file():
        hint = "the run stops once the edits are made, and goes on when it is there"
        findings.warning(f"ratings.file: {section.file} is not there yet", hint)
    if section.by == "app":
        if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
            findings.error("the rating page needs packages that are not installed", hint="pip install 'hp-edit[rate]'")
        if section.port and not _port_is_free(section.host, section.port):
            findings.error(
                f"ratings.port {section.port} is in use on {section.host}", hint="set ratings.port; 0 takes a free one"
            )


def _port_is_free(host: str, port: int) -> bool:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError:
        return False
    return True


def _check_judges(recipe: RunRecipe, findings: Findings, *, elsewhere: bool) -> None:
    """Judges beside the one of the scorer, which the training's plan checks."""
    served = [one for one in (recipe.judge, recipe.bench.second_judge) if one and one.startswith("http")]
    if served and importlib.util.find_spec("openai") is None:
        findings.error("a judge on a server needs packages that are not installed", hint="pip install 'hp-edit[api]'")
    second = recipe.bench.second_judge
    if second is None:
        return
    if second == recipe.judge:
        findings.error(
            f"bench.second_judge: {second} is the run's own judge: it can't tell a real gain from reward hacking",
            hint="name another judge, or leave it out",
        )
    elif not (Path(second) / "calibration.json").is_file() and (served or not Path(second).is_dir()):
        use = _judge(second, None, 1.0)
        find_judges([ScorerUse(second, (use,), "ok", "")], findings, accelerator=True, elsewhere=elsewhere)


def _check_enough(recipe: RunRecipe, counts: CaseCounts, findings: Findings) -> None:
    if findings.of("error"):
        return  # a source that can't be read gives no cases
    if counts.train < recipe.rollout.groups:
        hint = f"set rollout.groups to at most {max(1, counts.train)}, or add photographs"
        message = f"about {counts.train} training cases are too few for {recipe.rollout.groups} groups"
        (findings.error if counts.known else findings.warning)(message, hint)


def _kept_edits(recipe: RunRecipe, counts: CaseCounts) -> int:
    """Edits that all stages but the training keep."""
    edits = recipe.cases.edits
    made = counts.rated * edits.per_rated + counts.train * edits.per_candidate
    return made + counts.bench * (3 if recipe.control else 2)


def _stages(recipe: RunRecipe, counts: CaseCounts, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Edits, forwards, questions and seconds of each stage that has any."""
    time = plan.get("time")
    row = time["forward"] if time else None
    guided = 1 if recipe.rollout.cfg == 1.0 else 2

    def stage(name: str, edits: int, forwards: int, questions: float) -> dict[str, Any]:
        seconds = None if row is None else forwards * row
        named = {"name": name, "edits": edits, "forwards": forwards}
        return named | {"questions": round(questions), "seconds": seconds}

    rated = counts.rated * recipe.cases.edits.per_rated
    probed = min(recipe.scorer.probed, rated) * (1 + len(KINDS))
    hard = counts.train * recipe.cases.edits.per_candidate
    filtered = hard if recipe.cases.filter.by != "none" else 0
    arms = 3 if recipe.control else 2
    measured = counts.bench * arms
    asked = ASKED + (1 if recipe.bench.second_judge else 0)
    train = {
        "name": "train",
        "edits": plan["judge"]["edits_judged"],
        "forwards": plan["forwards"]["per_run"],
        "questions": round(plan["judge"]["edits_judged"] * ASKED),
        "seconds": time["run"] if time else None,
    }
    found = [
        stage("edits", rated, rated * recipe.edit_steps * guided, 0),
        stage("scorer", 0, 0, (rated + probed) * ASKED),
        stage("hard cases", hard, hard * recipe.edit_steps * guided, filtered * ASKED),
        train,
    ]
    if recipe.control:
        # Supervised, with exact targets and with a random reward: each takes as many forwards as the training.
        found.append(stage("control", 0, 3 * plan["forwards"]["per_run"], 0))
    steps, cfg = _bench_sampling(recipe)
    return [*found, stage("bench", measured, measured * steps * (2 if cfg > 1 else 1), measured * asked)]


def _bench_sampling(recipe: RunRecipe) -> tuple[int, float]:
    """Steps and guidance of the benchmark: the recipe's, else those usual for the model, told by its name alone."""
    usual = usual_by_name(recipe.editor.model)
    return recipe.bench.steps or usual.steps, recipe.bench.cfg or usual.cfg
