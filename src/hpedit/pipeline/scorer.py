"""The run's scorer: fitted on two thirds of the rated photographs, probed and compared with the raters on the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.mini.oracle import score_edit
from hpedit.pipeline.ratings import RatedEdits
from hpedit.pipeline.recipe import ScorerSection
from hpedit.scorer.evaluation.human_agreement import score_agreement
from hpedit.scorer.evaluation.measure_tables import evaluate_table
from hpedit.scorer.fitting import answered_table, fit_judged, load_judges, rated_pictures
from hpedit.scorer.hp_scorer import SETTINGS, HPScorer
from hpedit.scorer.probes.gate import PROBE, admit_reward, read_probe
from hpedit.scorer.probes.run_probe import probe_rated
from hpedit.store.atomic import read_json, write_json

HELD_OUT = 3
"""Every third rated photograph is kept for the comparison with the raters."""
AGREEMENT = "agreement.json"
"""Beside the scorer's folder: it must not change what the folder's content says."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The scorer against raters, on photographs that its fit never saw."""

    report: dict[str, Any]
    """As `evaluate_table` gives it; oracle_pearson too where exact edits are known."""
    points: list[tuple[float, float]]
    """(mean rating, score) of each edit."""


def prepare_scorer(folder: Path, rated: RatedEdits, judge: str, section: ScorerSection, *, seed: int) -> HPScorer:
    """Fit and probe the scorer in `folder`, unless that was done.

    Raises:
        HPEditError: the judge has no signal, or the scorer failed its probe and `scorer.force` is not set.
    """
    by_id = {case.id: case for case in rated.cases}
    if not (folder / SETTINGS).exists():
        pictures = rated_pictures(by_id, rated.part(held_out=False, every=HELD_OUT), rated.ratings)
        fit_judged(pictures, load_judges([judge], section.revision), folder, revision=section.revision)
    scorer = HPScorer.load(folder)
    if scorer.calibration.verdict != "ok":
        raise HPEditError(
            f"the scorer has no signal: {scorer.calibration.reason}",
            hint="collect more ratings or name another judge: a judge without signal must not be a reward",
        )
    if not (folder / PROBE).exists():
        held_out = rated.part(held_out=True, every=HELD_OUT)
        probe_rated(scorer, by_id, held_out, rated.ratings, folder, limit=section.probed, seed=seed)
    admit_reward(folder, scorer.fingerprint, force=section.force)
    return scorer


def probe_note(folder: Path) -> str:
    """What the probe found, in a sentence for the report."""
    found = read_probe(folder)
    assert found is not None, "prepare_scorer has probed it"
    share, n = found["overall"]["share"]["value"], found["overall"]["n"]
    said = f"Of {n} degenerate versions of {found['edits']} honest edits, {share:.1%} did not score below them"
    verdict = "the scorer passed" if found["passed"] else f"the scorer FAILED its probe: {'; '.join(found['reasons'])}"
    return f"{said}; {verdict}."


def compare_with_raters(folder: Path, scorer: HPScorer, rated: RatedEdits, seed: int) -> Compared:
    """Agreement on the edits that the fit did not see; kept in `folder`, so that a judge is asked once."""
    file = folder / AGREEMENT
    if not file.is_file():
        found = _compare(scorer, rated, seed)
        write_json(file, {"report": found.report, "points": found.points})
        return found
    kept = read_json(file)
    return Compared(kept["report"], [(x, y) for x, y in kept["points"]])


def _compare(scorer: HPScorer, rated: RatedEdits, seed: int) -> Compared:
    by_id = {case.id: case for case in rated.cases}
    pictures = rated_pictures(by_id, rated.part(held_out=True, every=HELD_OUT), rated.ratings)
    kept = {part.judge: part.kept_questions for part in scorer.calibration.parts}
    table = answered_table(scorer.judges, pictures, kept)
    report = evaluate_table(scorer.calibration, table, seed=seed)
    predicted, _ = scorer.calibration.predict(table.features, table.tasks)
    rows = np.flatnonzero(~np.isnan(predicted)).tolist()
    if all(case.oracle is not None for case in pictures.cases):
        exact = np.array(
            [score_edit(case, edit.image) for case, edit in zip(pictures.cases, pictures.edits, strict=True)]
        )
        found = score_agreement(predicted[rows], exact[rows], [table.sources[row] for row in rows])
        report["oracle_pearson"] = found["pearson"].as_dict("value")
    mean = np.nanmean(table.ratings, axis=1)
    return Compared(report, [(float(mean[row]), float(predicted[row])) for row in rows])
