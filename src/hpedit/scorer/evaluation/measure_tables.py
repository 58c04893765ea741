"""`hpedit scorer eval`: measure fitted scorers and learning curves on tables, on photos that no fit has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.base_selection import source_hash
from hpedit.scorer.calibration.calibration import Calibration, Columns
from hpedit.scorer.evaluation.human_agreement import agreement_report
from hpedit.scorer.evaluation.learning_curve import DRAWS, NUMBERS, learning_curve
from hpedit.scorer.tables.fit_tables import RatedTable, load_calibration, load_table


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings of a learning curve: rated edits a task, random choices per number, and a progress callback."""

    numbers: Sequence[int] = NUMBERS
    draws: int = DRAWS
    progress: Callable[[str], None] | None = None


def measure_tables(
    scorer: Path | None,
    tables: tuple[Path, Path, Path],
    judges: Sequence[str] = (),
    curve: Curve | None = None,
    columns: Columns | None = None,
    *,
    allow_seen: bool = False,
    seed: int = 0,
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Measure a scorer, a learning curve, or both, on tables of edits, ratings and scores.

    Args:
        scorer: Folder of a fitted scorer; only the curve is measured if None.
        tables: Of edits, ratings and scores.
        judges: Of the curve; the scorer's own if there are none.
        curve: No curve if None.
        columns: Of `judges`; see `fit_tables.load_table`.
        allow_seen: See `evaluate_tables`.
        seed: Of all resampling.
    """
    names, scale = judges_of(scorer, judges, columns, curve=curve is not None)
    found = evaluate_tables(scorer, *tables, allow_seen=allow_seen, seed=seed) if scorer else None
    if curve is None:
        return found, None
    table = load_table(*tables, names, scale)
    return found, learning_curve(table, curve.numbers, draws=curve.draws, seed=seed, progress=curve.progress)


def evaluate_tables(
    scorer: Path, edits: Path, ratings: Path, scores: Path, *, allow_seen: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Compare a fitted scorer with people on the edits of a table.

    Edits of photos that the scorer was fitted on are left out, unless ``allow_seen``.

    Returns:
        `agreement_report`, and: judge, scorer (fingerprint), unscorable_reasons, seen_sources and seen_edits, how many
        of the table's photos the scorer was fitted on, and how many edits these have; seen: "none", "excluded", or
        "included", when the figures flatter.

    Raises:
        HPEditError: the tables or the scorer cannot be used, or do not belong together; every photo was seen.
    """
    calibration = load_calibration(scorer)
    table = load_table(edits, ratings, scores, calibration.judges, calibration.columns)
    if table.feature_names != calibration.feature_names:
        raise HPEditError(
            f"{scorer} was fitted on the answers {', '.join(calibration.feature_names)}, "
            f"but {scores} has {', '.join(table.feature_names)}"
        )
    return evaluate_table(calibration, table, allow_seen=allow_seen, seed=seed)


def evaluate_table(
    calibration: Calibration, table: RatedTable, *, allow_seen: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Compare a fitted calibration with people on a table in memory; see `evaluate_tables`."""
    seen = seen_edits(calibration, table.sources)
    if seen.all() and not allow_seen:
        raise HPEditError(
            f"all {len(set(table.sources))} photos of these edits were used to fit the scorer: "
            "nothing is left to measure on",
            hint="evaluate on edits of other photos, or see figures that flatter with --allow-seen",
        )
    rows = np.arange(len(seen)) if allow_seen else np.flatnonzero(~seen)
    prediction, deviation = calibration.predict(table.features, table.tasks)
    kept = table.rows(rows)
    report = agreement_report(
        prediction[rows],
        kept.overall(calibration.main),
        kept.ratings,
        kept.sources,
        kept.tasks,
        deviation=deviation[rows],
        verdict=calibration.verdict,
        reason=calibration.reason,
        seed=seed,
    )
    return {
        "judge": calibration.judge,
        "scorer": calibration.fingerprint,
        **report,
        "unscorable_reasons": dict(table.unreadable),
        "seen_sources": len({source for source, known in zip(table.sources, seen, strict=True) if known}),
        "seen_edits": int(seen.sum()),
        "seen": "none" if not seen.any() else "included" if allow_seen else "excluded",
    }


def judges_of(
    scorer: Path | None, judges: Sequence[str], columns: Columns | None = None, *, curve: bool
) -> tuple[tuple[str, ...], Columns]:
    """The judges of the curve and their columns: those named, or else the scorer's.

    Raises:
        HPEditError: nothing to measure, or a judge is named although the scorer has its own.
    """
    if judges and not curve:
        raise HPEditError("--judge is for --curve; a scorer has its own judge", hint="leave it out, or add --curve")
    if columns and not judges:
        raise HPEditError("--columns is for --judge; a scorer has its own columns", hint="leave it out, or add --judge")
    if judges:
        return tuple(judges), columns or {}
    if scorer is None:
        missing = "--judge or --scorer" if curve else "--scorer"
        raise HPEditError(f"{missing} is missing: nothing says what to measure", hint="see hpedit scorer eval --help")
    calibration = load_calibration(scorer)
    return calibration.judges, calibration.columns


def seen_edits(calibration: Calibration, sources: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the calibration was fitted on the photo of each edit (n,)."""
    fitted = set(calibration.sources)
    known = {source for source in set(sources) if source_hash(source) in fitted}
    return np.array([source in known for source in sources], dtype=np.bool_)
