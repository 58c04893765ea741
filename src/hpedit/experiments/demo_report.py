"""What the demo's report says about itself: provenance, versions, what the control was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from hpedit import __version__
from hpedit.bench.run import BenchFolder
from hpedit.config.recipe import Recipe
from hpedit.mini.control import BATCH
from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.report.collect import collect_pictures
from hpedit.report.data import Agreement, Provenance, ReportData

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "scikit-image", "scikit-learn")


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """What the demo knows of its own run."""

    world: World
    """Photographs and objects."""
    command: str
    """Which runs the demo again."""
    recipe: Recipe
    editor: str
    """Fingerprint of the base editor."""
    scorer: str
    """Fingerprint of the scorer."""
    seconds: Mapping[str, float]
    """Stage -> seconds over all sittings."""
    cases_kept: Mapping[str, Any]
    """result.json of the cases stage: candidates, kept, counts by task."""
    probe: str
    """What the scorer's probe found, in a sentence."""
    watch: str
    """What was seen at the held-out looks of the training, in a sentence."""


def demo_report(
    facts: DemoFacts,
    summary: Mapping[str, Any],
    agreement: Mapping[str, Any],
    points: Sequence[tuple[float, float]],
    cases: Sequence[Case],
    folders: Mapping[str, BenchFolder],
    metrics: Sequence[Mapping[str, Any]],
) -> ReportData:
    """Everything the demo's page shows.

    Args:
        summary: Of `hpedit.bench.summary.compare`.
        agreement: Of `human_agreement.agreement_report`; `points` are its (mean rating, score).
        cases: Held-out cases of the benchmark, whose pictures are shown.
        folders: "base", "post" and "control".
        metrics: Of the training, one record an iteration.
    """
    updates = facts.recipe.train.iterations * facts.recipe.train.inner_updates
    return ReportData(
        title="HP-Edit demo: the whole loop in the mini world",
        subtitle=_subtitle(facts),
        summary=summary,
        pictures=collect_pictures(cases, folders["base"], folders["post"]),
        metrics=metrics,
        agreements=[
            Agreement("HP-Scorer against raters, on photo crops its calibration never saw", agreement, points, True)
        ],
        provenance=_provenance(facts),
        seconds=facts.seconds,
        command=facts.command,
        control_note=(
            f"{updates} more supervised updates of {BATCH} pairs, with the base's own share and mixture of flaws, "
            "a LoRA of the same size and the same learning rate as the RL run."
        ),
        versions={"hpedit": __version__} | {name: version(name) for name in LIBRARIES},
        fingerprints={"editor (base)": facts.editor, "scorer": facts.scorer},
        notes=[
            "Everything here happened at miniature scale, at 32 px on a CPU, through the classes that run "
            "Qwen-Image-Edit-2509.",
            facts.probe,
            facts.watch,
        ],
    )


def _subtitle(facts: DemoFacts) -> str:
    """Which photographs, and how many candidate cases were kept."""
    world = facts.world
    where = f"{len(world.paths)} photographs of {world.photos}" if world.photos else "the embedded photographs"
    if world.objects:
        where += f", with {len(world.kit.kinds)} different cut-outs of {world.objects}"
    kept, total = facts.cases_kept["kept"], facts.cases_kept["candidates"]
    return f"Scenes on {where}; {kept} of {total} candidate cases were hard enough to train on."


def _provenance(facts: DemoFacts) -> list[Provenance]:
    """What of the run was real and what was simulated, as the page states it at its top."""
    photos = "the user's own" if facts.world.photos else "from the wheels of scikit-image and scikit-learn"
    objects = "the user's own cut-outs" if facts.world.objects else "drawn shapes"
    return [
        Provenance(
            "Raters",
            True,
            "five simulated raters: the oracle's score with a bias and noise of their own, rounded to whole scores",
        ),
        Provenance(
            "Objects in the scenes",
            True,
            f"{objects} composited on photo crops, so that the exact target of each edit is known",
        ),
        Provenance("Photographs", False, photos),
        Provenance(
            "Editor, judge and training",
            False,
            "the classes and the code path of the full scale, with small weights built from scratch",
        ),
        Provenance(
            "Oracle",
            False,
            "measures each edit against its exact target; the raters and the shipped judge learnt from it, it gives "
            "no reward",
        ),
    ]
