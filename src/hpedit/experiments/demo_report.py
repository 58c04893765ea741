"""The demo's report about its own run: provenance, versions, what the control was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from hpedit import __version__
from hpedit.bench.bench_folder import BenchFolder
from hpedit.config.recipe import Recipe
from hpedit.mini.control import BATCH
from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.report.picture_selection import collect_pictures
from hpedit.report.report_data import Agreement, Provenance, ReportData

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "scikit-image", "scikit-learn")


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """What the demo knows about its own run."""

    world: World
    """Photographs and objects."""
    command: str
    """Command that repeats the demo."""
    recipe: Recipe
    editor: str
    """Fingerprint of the base editor."""
    scorer: str
    """Fingerprint of the scorer."""
    seconds: Mapping[str, float]
    """Stage -> seconds over all runs of the command."""
    cases_kept: Mapping[str, Any]
    """result.json of the cases stage: candidates, kept, counts by task."""
    probe: str
    """What the scorer's probe found, in a sentence."""
    watch: str
    """What the held-out evaluations during training found, in a sentence."""


def demo_report(
    facts: DemoFacts, summary: Mapping[str, Any], agreement: Mapping[str, Any], points: Sequence[tuple[float, float]],
    cases: Sequence[Case], folders: Mapping[str, BenchFolder], metrics: Sequence[Mapping[str, Any]],
) -> ReportData:  # fmt: skip
    """Everything the demo's page shows.

    Args:
        summary: Of `hpedit.bench.before_after.before_after_summary`.
        agreement: Of `human_agreement.agreement_report`; `points` are its (mean rating, score).
        cases: Held-out cases of the benchmark, whose pictures are shown.
        folders: "base", "post" and "control".
        metrics: Of the training, one record an iteration.
    """
    updates = facts.recipe.train.iterations * facts.recipe.train.inner_updates
    agreements = [
        Agreement("HP-Scorer against raters, on photo crops its calibration never saw", agreement, points, True)
    ]
    control = (
        f"{updates} more supervised updates of {BATCH} pairs, with the base's own share and mixture of flaws, "
        "a LoRA of the same size and the same learning rate as the RL run."
    )
    scale = (
        "Everything here happened at miniature scale, at 32 px on a CPU, through the classes that run "
        "Qwen-Image-Edit-2509."
    )
    return ReportData(
        "HP-Edit demo: the whole loop in the mini world", _subtitle(facts), summary=summary,
        pictures=collect_pictures(cases, folders["base"], folders["post"]), metrics=metrics, agreements=agreements,
        provenance=_provenance(facts.world), seconds=facts.seconds, command=facts.command, control_note=control,
        versions={"hpedit": __version__} | {name: version(name) for name in LIBRARIES},
        fingerprints={"editor (base)": facts.editor, "scorer": facts.scorer},
        notes=[scale, facts.probe, facts.watch],
    )  # fmt: skip


def _subtitle(facts: DemoFacts) -> str:
    """Which photographs, and how many candidate cases were kept."""
    world = facts.world
    where = f"{len(world.paths)} photographs of {world.photos}" if world.photos else "the embedded photographs"
    if world.objects:
        where += f", with {len(world.kit.kinds)} different cut-outs of {world.objects}"
    kept, total = facts.cases_kept["kept"], facts.cases_kept["candidates"]
    return f"Scenes on {where}; {kept} of {total} candidate cases were hard enough to train on."


def _provenance(world: World) -> list[Provenance]:
    """What of the run was real and what was simulated, as the page states it at its top."""
    photos = "the user's own" if world.photos else "from the wheels of scikit-image and scikit-learn"
    objects = "the user's own cut-outs" if world.objects else "drawn shapes"
    raters = "five simulated raters: the oracle's score with individual bias and noise, rounded to whole scores"
    scenes = f"{objects} composited on photo crops, so that the exact target of each edit is known"
    classes = "the classes and the code path of the full scale, with small weights built from scratch"
    oracle = "measures each edit against its exact target; raters and shipped judge are based on it, it gives no reward"
    return [
        Provenance("Raters", True, raters),
        Provenance("Objects in the scenes", True, scenes),
        Provenance("Photographs", False, photos),
        Provenance("Editor, judge and training", False, classes),
        Provenance("Oracle", False, oracle),
    ]
