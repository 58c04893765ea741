"""The report of a run: what was measured, what was simulated, provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from hpedit import __version__
from hpedit.bench.before_after import before_after_summary
from hpedit.bench.bench_folder import BenchFolder
from hpedit.mini.control import BATCH
from hpedit.mini.world import World
from hpedit.pipeline.controls import supervised_updates
from hpedit.pipeline.recipe import RunRecipe
from hpedit.pipeline.scorer import Compared, probe_note
from hpedit.pipeline.state import read_state
from hpedit.records import Case
from hpedit.report.picture_selection import collect_pictures
from hpedit.report.report_data import Agreement, Provenance, ReportData
from hpedit.report.report_page import write_report
from hpedit.report.train_page import alarm_note
from hpedit.store.atomic import read_json

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "scikit-image", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Finished:
    """All that a report needs of a run."""

    recipe: RunRecipe
    world: World | None
    """None on photographs."""
    command: str
    """Which runs it again."""
    editor: str
    """Fingerprint of the base editor."""
    scorer: str
    """Fingerprint of the scorer."""
    compared: Compared
    cases: Sequence[Case]
    """Held-out cases of the benchmark, whose pictures are shown."""
    folders: Mapping[str, BenchFolder]
    """"base", "post" and, in a mini world, "control"."""
    metrics: Sequence[Mapping[str, Any]]
    """Of the training, one record an iteration."""
    beside: Mapping[str, Any]
    """What the controls say, as `hpedit.pipeline.controls` gives it; empty without controls."""


def write_run_report(run: Finished) -> dict[str, Any]:
    """Write report.html, report.json and summary.json into the run's folder; returns the summary."""
    out = run.recipe.path
    summary = {**before_after_summary(run.folders), "agreement": run.compared.report, **run.beside}
    write_report(out, _data(run, summary))
    result: dict[str, Any] = read_json(out / "summary.json")
    return result


def _data(run: Finished, summary: Mapping[str, Any]) -> ReportData:
    recipe, out = run.recipe, run.recipe.path
    mini = run.world is not None
    updates = supervised_updates(recipe.training())
    notes = [probe_note(out / "scorer"), alarm_note(out / "train")]
    if mini:
        notes.insert(
            0,
            "Everything here happened at miniature scale, at 32 px on a CPU, through the classes that run "
            "Qwen-Image-Edit-2509.",
        )
    seen = "photo crops" if mini else "photographs"
    return ReportData(
        title="HP-Edit demo: the whole loop in the mini world" if mini else f"HP-Edit run {out.resolve().name}",
        subtitle=_subtitle(run),
        summary=summary,
        pictures=collect_pictures(run.cases, run.folders["base"], run.folders["post"]),
        metrics=run.metrics,
        agreements=[
            Agreement(
                f"HP-Scorer against raters, on {seen} its calibration never saw", run.compared.report,
                run.compared.points, recipe.ratings.by == "simulated",
            )
        ],
        provenance=_provenance(run),
        seconds={record["name"]: record["seconds"] for record in read_state(out) if record["seconds"]},
        command=run.command,
        control_note=(
            f"{updates} more supervised updates of {BATCH} pairs, as much computation as the RL run took, with the "
            "base's own loss and mixture of flaws and a LoRA of the same size; the average of its weights is measured."
        )
        if "control" in run.folders
        else "",
        versions={"hpedit": __version__} | {name: version(name) for name in LIBRARIES},
        fingerprints={"editor (base)": run.editor, "scorer": run.scorer},
        notes=notes,
    )  # fmt: skip


def _subtitle(run: Finished) -> str:
    """Which photographs, and how many candidate cases were kept."""
    world, result = run.world, read_json(run.recipe.path / "cases" / "result.json")
    kept = f"{result['kept']} of {result['candidates']} candidate cases were hard enough to train on."
    if world is None:
        photographs = len({case.source_id for case in run.cases})
        return f"{run.recipe.editor.model} on {photographs} held-out photographs; {kept}"
    where = f"{len(world.paths)} photographs of {world.photos}" if world.photos else "the embedded photographs"
    if world.objects:
        where += f", with {len(world.kit.kinds)} different cut-outs of {world.objects}"
    return f"Scenes on {where}; {kept}"


def _provenance(run: Finished) -> list[Provenance]:
    """What of the run was real and what was simulated, as the page states it at its top."""
    simulated = run.recipe.ratings.by == "simulated"
    raters = (
        "five simulated raters: the oracle's score with a bias and noise of their own, rounded to whole scores"
        if simulated
        else {"app": "people, in the rating app", "file": "a file of ratings", "run": "ratings of an earlier run"}[
            run.recipe.ratings.by
        ]
    )
    found = [Provenance("Raters", simulated, raters)]
    if run.world is None:
        return [
            *found,
            Provenance("Photographs", False, "the user's own"),
            Provenance("Editor, judge and training", False, f"{run.recipe.editor.model}, judged by {run.recipe.judge}"),
        ]
    photos = "the user's own" if run.world.photos else "from the wheels of scikit-image and scikit-learn"
    objects = "the user's own cut-outs" if run.world.objects else "drawn shapes"
    return [
        *found,
        Provenance(
            "Objects in the scenes", True,
            f"{objects} composited on photo crops, so that the exact target of each edit is known",
        ),
        Provenance("Photographs", False, photos),
        Provenance(
            "Editor, judge and training", False,
            "the classes and the code path of the full scale, with small weights built from scratch",
        ),
        Provenance(
            "Oracle", False,
            "measures each edit against its exact target; the raters and the shipped judge learnt from it, it gives "
            "no reward",
        ),
    ]  # fmt: skip
