"""The demo's scorer: fitted on two thirds of the photo crops, probed, and compared with the raters on the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.bench.benchmark_run import run_bench
from hpedit.editors.protocol import Editor
from hpedit.errors import HPEditError
from hpedit.mini.oracle import score_edit
from hpedit.mini.raters import simulate_ratings
from hpedit.records import Case, Edit, Rating
from hpedit.scorer.evaluation.human_agreement import score_agreement
from hpedit.scorer.evaluation.measure_tables import evaluate_table
from hpedit.scorer.fitting import answered_table, fit_judged, load_judges, rated_pictures
from hpedit.scorer.hp_scorer import SETTINGS, HPScorer
from hpedit.scorer.probes.gate import PROBE, admit_reward, read_probe
from hpedit.scorer.probes.run_probe import probe_rated
from hpedit.store.tables import read_ratings, write_ratings

HELD_OUT = 3
"""Every third photo crop of the calibration split is kept for the comparison with the raters."""
PROBED = 64
"""Honest edits that are probed, of the crops that were kept."""


@dataclass(frozen=True, slots=True)
class CalibrationEdits:
    """Edits with their cases, in the same order, and their ratings."""

    cases: Sequence[Case]
    edits: Sequence[Edit]
    ratings: Sequence[Rating]

    def held_out(self) -> list[bool]:
        """Which of the edits are held out from the fit."""
        order = {name: number for number, name in enumerate(sorted({case.source_id for case in self.cases}))}
        return [order[case.source_id] % HELD_OUT == 0 for case in self.cases]

    def part(self, *, held_out: bool) -> list[Edit]:
        """The edits of the fit, or the held-out ones."""
        return [edit for edit, out in zip(self.edits, self.held_out(), strict=True) if out == held_out]


def rate_edits(out: Path, editor: Editor, cases: Sequence[Case], seed: int, steps: int) -> CalibrationEdits:
    """Two edits of each case and the simulated raters' scores, resuming what `out` already has."""
    edits: list[Edit] = []
    for number, turn in enumerate(("first", "second")):
        folder = run_bench(editor, cases, None, out / turn, seed=seed + number, steps=steps, label=turn, batch=48)
        edits += folder.edits()
    by_id = {case.id: case for case in cases}
    aligned = [by_id[edit.case_id] for edit in edits]
    file = out / "ratings.csv"
    if not file.exists():
        write_ratings(file, simulate_ratings(aligned, edits, seed))
    return CalibrationEdits(aligned, edits, read_ratings(file))


def prepare_scorer(folder: Path, rated: CalibrationEdits, seed: int) -> HPScorer:
    """Fit and probe the scorer in `folder`, unless that was done.

    A scorer that fails its probe is still used, since the demo shows what then happens; `probe_note` says so on the
    page, and `hpedit train` would refuse it.

    Raises:
        HPEditError: the judge has no signal.
    """
    by_id = {case.id: case for case in rated.cases}
    if not (folder / SETTINGS).exists():
        fit_judged(rated_pictures(by_id, rated.part(held_out=False), rated.ratings), load_judges(["mini"]), folder)
    scorer = HPScorer.load(folder)
    if scorer.calibration.verdict != "ok":
        raise HPEditError(
            f"the scorer has no signal: {scorer.calibration.reason}", hint="a judge without signal must not be a reward"
        )
    if not (folder / PROBE).exists():
        probe_rated(scorer, by_id, rated.part(held_out=True), rated.ratings, folder, limit=PROBED, seed=seed)
    admit_reward(folder, scorer.fingerprint, force=True)
    return scorer


def probe_note(folder: Path) -> str:
    """What the probe found, in a sentence for the report."""
    found = read_probe(folder)
    assert found is not None, "prepare_scorer has probed it"
    share, n = found["overall"]["share"]["value"], found["overall"]["n"]
    said = f"Of {n} degenerate versions of {found['edits']} honest edits, {share:.1%} did not score below them"
    verdict = "the scorer passed" if found["passed"] else f"the scorer FAILED its probe: {'; '.join(found['reasons'])}"
    return f"{said}; {verdict}."


def compare_with_raters(
    scorer: HPScorer, rated: CalibrationEdits, seed: int
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Agreement on the held-out edits, and their points (mean rating, score)."""
    by_id = {case.id: case for case in rated.cases}
    pictures = rated_pictures(by_id, rated.part(held_out=True), rated.ratings)
    kept = {part.judge: part.kept_questions for part in scorer.calibration.parts}
    table = answered_table(scorer.judges, pictures, kept)
    report = evaluate_table(scorer.calibration, table, seed=seed)
    predicted, _ = scorer.calibration.predict(table.features, table.tasks)
    truth = np.array([score_edit(case, edit.image) for case, edit in zip(pictures.cases, pictures.edits, strict=True)])
    rows = np.flatnonzero(~np.isnan(predicted)).tolist()
    found = score_agreement(predicted[rows], truth[rows], [table.sources[row] for row in rows])
    report["oracle_pearson"] = found["pearson"].as_dict("value")
    mean = np.nanmean(table.ratings, axis=1)
    return report, [(float(mean[row]), float(predicted[row])) for row in rows]
