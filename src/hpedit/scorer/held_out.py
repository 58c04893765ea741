"""Measure scorers on tables (see `tabular`), on photos that no fit has seen.

evaluate_tables(scorer, edits, ratings, scores)         # a fitted scorer
curve_of_tables(edits, ratings, scores, judge)          # what fits on 10, 25, 50, 100 rated edits a task would give
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.agreement import mean_rating
from hpedit.scorer.calibration import Calibration
from hpedit.scorer.curve import DRAWS, HELD_OUT, NUMBERS, learning_curve
from hpedit.scorer.evaluation import agreement_report
from hpedit.scorer.selection import source_hash
from hpedit.scorer.tabular import load_scorer, load_table


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
    calibration = load_scorer(scorer)
    table = load_table(edits, ratings, scores, calibration.judge)
    if table.feature_names != calibration.feature_names:
        raise HPEditError(
            f"{scorer} was fitted on the answers {', '.join(calibration.feature_names)}, "
            f"but {scores} has {', '.join(table.feature_names)}"
        )
    seen = seen_edits(calibration, table.sources)
    if seen.all() and not allow_seen:
        raise HPEditError(
            f"all {len(set(table.sources))} photos of {edits} were used to fit {scorer}: nothing is left to measure on",
            hint="evaluate on edits of other photos, or see figures that flatter with --allow-seen",
        )
    rows = np.arange(len(seen)) if allow_seen else np.flatnonzero(~seen)
    prediction, deviation = calibration.predict(table.features, table.tasks)
    report = agreement_report(
        prediction[rows],
        table.features[rows, 0],
        table.ratings[rows],
        [table.sources[row] for row in rows.tolist()],
        [table.tasks[row] for row in rows.tolist()],
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


def curve_of_tables(
    edits: Path,
    ratings: Path,
    scores: Path,
    judge: str,
    numbers: Sequence[int] = NUMBERS,
    *,
    share: float = HELD_OUT,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """`learning_curve` of a judge on all rated edits of a table, which is split by photo."""
    table = load_table(edits, ratings, scores, judge)
    return learning_curve(
        table.features,
        table.feature_names,
        table.tasks,
        mean_rating(table.ratings),
        table.sources,
        numbers,
        judge=judge,
        ratings=table.ratings,
        share=share,
        draws=draws,
        seed=seed,
        progress=progress,
    )


def judge_of(scorer: Path | None, judge: str | None, *, curve: bool) -> str:
    """The judge whose curve is asked for: the named one, or else the scorer's.

    Raises:
        HPEditError: nothing says what to measure, or a judge is named where the scorer has its own.
    """
    if judge and not curve:
        raise HPEditError("--judge is for --curve; a scorer has its own judge", hint="leave it out, or add --curve")
    if judge:
        return judge
    if scorer is None:
        missing = "--judge or --scorer" if curve else "--scorer"
        raise HPEditError(f"{missing} is missing: nothing says what to measure", hint="see hpedit scorer eval --help")
    return load_scorer(scorer).judge


def seen_edits(calibration: Calibration, sources: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the calibration was fitted on the photo of each edit (n,)."""
    fitted = set(calibration.sources)
    known = {source for source in set(sources) if source_hash(source) in fitted}
    return np.array([source in known for source in sources], dtype=np.bool_)
