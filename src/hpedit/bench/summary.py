"""What the benchmark says: `compare` puts the folders of base, post-trained and control model side by side.

Every figure of an instrument comes from the same cases: those that it could score for all models. Gains are paired by
case, their intervals resample source photos (hpedit.scorer.evaluation.statistics).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.alarms import MEASURES
from hpedit.bench.run import BenchFolder, BenchRow
from hpedit.errors import HPEditError
from hpedit.scorer.evaluation.statistics import mean_ci, paired_gain

Array = NDArray[np.float64]
Arms = Mapping[str, Sequence[BenchRow]]
"""Rows of each model, all in the same order of cases."""

LOW_SCORE = 2.0
"""Scores up to it are failures: the edit does not follow, or is ruined. A mean hides them."""
TIE_MARGIN = 0.1
"""Points of 5 within which two edits count as equal."""
ALARM_CHANGE = 0.10
"""Relative change of a measure of the pixels, away from the sources, from which it is an alarm."""
INSTRUMENTS = ("oracle", "scorer")
_MUST_AGREE = {"seed": "seeds", "steps": "numbers of steps", "scorer": "scorers"}


def compare(folders: Mapping[str, BenchFolder | None], seed: int = 0) -> dict[str, Any]:
    """The summary of `{"base": ..., "post": ..., "control": ... or None}`.

    Returns:
        "oracle" and "scorer" (None if not measured), each with base, post, gain as {"mean", "ci95"}, low_share,
        win_tie_loss, n, and, where there is one, control with its own gain and post_minus_control; the oracle also has
        copy, the untouched source.
        "tasks": the same per task. Further n, sources, unscorable, low_share, win_tie_loss, control, alarms, seconds.
        A bound that too few photos allow is None.

    Raises:
        HPEditError: base or post is missing, or the folders differ in cases, seed, steps or scorer.
    """
    present = {name: folder for name, folder in folders.items() if folder is not None}
    missing = [name for name in ("base", "post") if name not in present]
    if missing:
        raise HPEditError(f"no benchmark of the {' and the '.join(missing)} model", hint="run it on the same cases")
    _check_settings(present)
    arms = _aligned({name: folder.rows() for name, folder in present.items()})
    whole = {name: _block(arms, name, seed) for name in INSTRUMENTS}
    tasks = sorted({row.task for row in arms["base"]})
    return {
        **whole,
        "tasks": {task: {name: _block(_of_task(arms, task), name, seed) for name in INSTRUMENTS} for task in tasks},
        "n": len(arms["base"]),
        "sources": len({row.source_id for row in arms["base"]}),
        "unscorable": {arm: sum(row.reason is not None for row in rows) for arm, rows in arms.items()},
        "low_share": {name: block and block["low_share"] for name, block in whole.items()},
        "win_tie_loss": {name: block and block["win_tie_loss"] for name, block in whole.items()},
        "control": {name: block["control"] for name, block in whole.items() if block} if "control" in arms else None,
        "alarms": _alarms(arms, seed),
        "seconds": {f"bench, {name}": sum(folder.seconds.values()) for name, folder in present.items()},
    }


def _check_settings(folders: Mapping[str, BenchFolder]) -> None:
    base = folders["base"]
    for name, folder in folders.items():
        for key, plural in _MUST_AGREE.items():
            old, new = base.settings[key], folder.settings[key]
            if old != new:
                raise HPEditError(
                    f"the benchmarks of base and {name} have different {plural}: {old} and {new}",
                    hint="scores are compared only if all else is equal; run them again with the same settings",
                )


def _aligned(arms: Mapping[str, Sequence[BenchRow]]) -> Arms:
    """The rows of every model in the base's order of cases; HPEditError if they are not of the same cases."""
    order = [row.case_id for row in arms["base"]]
    tables = {name: {row.case_id: row for row in rows} for name, rows in arms.items()}
    for name, table in tables.items():
        if table.keys() != set(order):
            differing = len(table.keys() ^ set(order))
            raise HPEditError(
                f"base and {name} were benchmarked on different cases: {differing} of them are in one alone",
                hint="run both on the same file of cases",
            )
    return {name: [table[case_id] for case_id in order] for name, table in tables.items()}


def _of_task(arms: Arms, task: str) -> Arms:
    return {name: [row for row in rows if row.task == task] for name, rows in arms.items()}


def _values(rows: Sequence[BenchRow], instrument: str) -> Array:
    """(n,) scores by one instrument; NaN = unscorable."""
    raw = [row.oracle if instrument == "oracle" else row.score for row in rows]
    return np.array([math.nan if value is None else value for value in raw], dtype=np.float64)


def _block(arms: Arms, instrument: str, seed: int) -> dict[str, Any] | None:
    """All figures by one instrument, over the cases that it scored for every model; None if there are none."""
    values = {name: _values(rows, instrument) for name, rows in arms.items()}
    kept = np.flatnonzero(~np.isnan(np.stack(list(values.values()))).any(axis=0)).tolist()
    if len(kept) == 0:
        return None
    sources = [arms["base"][index].source_id for index in kept]
    values = {name: column[kept] for name, column in values.items()}
    base, post = values["base"], values["post"]
    block: dict[str, Any] = {name: mean_ci(column, sources, seed).as_dict("mean") for name, column in values.items()}
    block["gain"] = paired_gain(base, post, sources, seed).as_dict("mean")
    block["low_share"] = {name: float((column <= LOW_SCORE).mean()) for name, column in values.items()}
    block["win_tie_loss"] = _outcomes(post - base)
    block["n"] = len(kept)
    if "control" in values:
        block["control"]["gain"] = paired_gain(base, values["control"], sources, seed).as_dict("mean")
        block["control"]["post_minus_control"] = paired_gain(values["control"], post, sources, seed).as_dict("mean")
    if instrument == "oracle":
        copied = [arms["base"][index].copy_oracle for index in kept]
        block["copy"] = mean_ci(np.array(copied, dtype=np.float64), sources, seed).as_dict("mean")
    return block


def _outcomes(change: Array) -> dict[str, int]:
    win, loss = int((change > TIE_MARGIN).sum()), int((change < -TIE_MARGIN).sum())
    return {"win": win, "tie": len(change) - win - loss, "loss": loss}


def _alarms(arms: Arms, seed: int) -> dict[str, Any]:
    """Each measure of the pixels on the sources, before and after, and whether it drifts away from the sources."""
    sources = [row.source_id for row in arms["base"]]
    result = {}
    for name in MEASURES:
        source, base, post = (
            np.array(column, dtype=np.float64)
            for column in (
                [row.source_alarms[name] for row in arms["base"]],
                [row.alarms[name] for row in arms["base"]],
                [row.alarms[name] for row in arms["post"]],
            )
        )
        gain = paired_gain(base, post, sources, seed)
        result[name] = {
            "source": mean_ci(source, sources, seed).as_dict("mean"),
            "base": mean_ci(base, sources, seed).as_dict("mean"),
            "post": mean_ci(post, sources, seed).as_dict("mean"),
            "gain": gain.as_dict("mean"),
            **_reading(float(source.mean()), float(base.mean()), float(post.mean()), gain.low, gain.high),
        }
    return result


def _reading(source: float, base: float, post: float, low: float, high: float) -> dict[str, Any]:
    """Plain words for one measure, and whether it is an alarm."""
    # An unknown interval is NaN and compares false: no claim, no alarm.
    if not (low > 0 or high < 0):
        return {"alarm": False, "meaning": "no clear change"}
    away = abs(post - source) > abs(base - source)
    share = abs(post - base) / base if base else math.inf
    amount = f"by {share:.0%}" if math.isfinite(share) else "from nothing"
    meaning = f"{'rose' if post > base else 'fell'} {amount}, {'away from' if away else 'toward'} the sources"
    return {"alarm": away and share >= ALARM_CHANGE, "meaning": meaning}
