"""How agreement with people grows with the number of rated edits a task: how many are worth collecting.

The photos are split once: one part to fit on, the rest to measure on. For each number, several random choices of that
many rated edits a task are drawn from the first part, a calibration is fitted on each, and its scores of the second
part are measured. A choice takes one edit of every photo before a second of any, in random order, as people would
collect them; the choices of one draw are nested (10 in 25 in 50), so that a step of the curve is not a change of luck.

What the spread over draws shows is the luck of which edits were rated. How well the held-out part itself is known
is in the intervals of the judge and of people, which are measured on the same edits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.calibration import Calibration
from hpedit.scorer.calibration.fit import fit_calibration
from hpedit.stats.agreement import human_ceiling
from hpedit.stats.bootstrap import FloatArray, IntArray, source_index
from hpedit.stats.correlation import MEASURES, RESAMPLES, Resamples

NUMBERS = (10, 25, 50, 100)
"""Rated edits a task; the paper takes 50 to 100."""
DRAWS = 8
HELD_OUT = 0.4
"""Share of the photos that is measured on."""
SHOWN = (*MEASURES, "mae")

Fit = Callable[[FloatArray, Sequence[str], Sequence[str], FloatArray, Sequence[str], str], Calibration]
"""Takes features, names, tasks, target, sources and judge, as `fit_calibration` does."""


@dataclass(frozen=True, slots=True)
class _Data:
    features: FloatArray
    names: Sequence[str]
    tasks: Sequence[str]
    target: FloatArray
    sources: Sequence[str]
    judge: str
    fit: Fit

    def calibrate(self, rows: IntArray) -> Calibration:
        chosen = rows.tolist()
        tasks, sources = [self.tasks[row] for row in chosen], [self.sources[row] for row in chosen]
        return self.fit(self.features[rows], self.names, tasks, self.target[rows], sources, self.judge)


def learning_curve(
    features: FloatArray,
    names: Sequence[str],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    numbers: Sequence[int] = NUMBERS,
    *,
    judge: str = "",
    raw: FloatArray | None = None,
    ratings: FloatArray | None = None,
    held_out: Sequence[bool] | None = None,
    share: float = HELD_OUT,
    draws: int = DRAWS,
    seed: int = 0,
    fit: Fit = fit_calibration,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure calibrations fitted on growing numbers of rated edits.

    Args:
        features: (n, f) the judge's answers, NaN = missing.
        names: (f,) of the features.
        tasks: (n,) task ids.
        target: (n,) mean ratings, 0 to 5; NaN = unrated, left out.
        sources: (n,) photo ids.
        numbers: rated edits a task to try.
        judge: its name.
        raw: (n,) the judge's own score, NaN = unscorable; the first feature if None.
        ratings: (n, r) single ratings for the human ceiling, NaN = did not rate; no ceiling if None.
        held_out: (n,) edits to measure on; a random ``share`` of the photos if None.
        share: in (0, 1), see ``held_out``.
        draws: choices of edits a number.
        seed: of split and choices.
        fit: what fits a calibration; bind more arguments of `fit_calibration` with `functools.partial`.
        progress: told a line after each number.

    Returns:
        JSON values: points (see `_point`), raw and human ({measure: {"value", "ci95"}}, and "tasks"), fitting and
        held_out ({"edits", "sources", "tasks": {task: edits}}), draws, seed, judge.

    Raises:
        HPEditError: numbers, share or draws out of range, fewer than two photos, a photo on both sides of ``held_out``.
    """
    _check(numbers, share, draws)
    data = _Data(features, names, tasks, target, sources, judge, fit)
    own = features[:, 0] if raw is None else raw
    usable = ~np.isnan(target) & ~np.isnan(own)
    inside, outside = _split(sources, np.flatnonzero(usable), held_out, share, seed)
    orders = [_order(data, inside, np.random.default_rng([seed, draw])) for draw in range(draws)]
    points = []
    for number in sorted(set(numbers)):
        points.append(_point(data, number, orders, outside))
        if progress:
            progress(f"{number} rated edits a task: {draws - points[-1]['failed']} of {draws} fits")
    return {
        "judge": judge,
        "points": points,
        "raw": _measure(data, outside, own, RESAMPLES),
        "human": _human(data, outside, ratings, seed),
        "fitting": _part(data, inside),
        "held_out": _part(data, outside),
        "draws": draws,
        "seed": seed,
    }


def split_photos(sources: Sequence[str], share: float, seed: int) -> set[str]:
    """A random ``share`` of the photos (at least one, never all), the same whatever the order of the edits.

    Raises:
        HPEditError: fewer than two photos.
    """
    photos, _ = source_index(sources)
    if len(photos) < 2:
        raise HPEditError(f"{len(photos)} photo with ratings and scores: a part to measure on needs at least two")
    count = min(len(photos) - 1, max(1, round(share * len(photos))))
    order = np.random.default_rng(seed).permutation(len(photos))
    return {photos[position] for position in order[:count].tolist()}


def _split(
    sources: Sequence[str], rows: IntArray, held_out: Sequence[bool] | None, share: float, seed: int
) -> tuple[IntArray, IntArray]:
    """Those of the ``rows`` to fit on, and those to measure on."""
    if held_out is None:
        photos = split_photos([sources[row] for row in rows.tolist()], share, seed)
        outside = np.array([source in photos for source in sources], dtype=bool)
    else:
        outside = np.asarray(held_out, dtype=bool)
    if both := {sources[row] for row in rows[outside[rows]].tolist()} & {
        sources[row] for row in rows[~outside[rows]].tolist()
    }:
        raise HPEditError(f"photo {min(both)} is both fitted and measured on", hint="split by photo, not by edit")
    return rows[~outside[rows]], rows[outside[rows]]


def _order(data: _Data, rows: IntArray, rng: np.random.Generator) -> dict[str, IntArray]:
    """Rows of each task in the order in which they are taken: every photo once, then every photo again."""
    shuffled = rng.permutation(rows).tolist()
    photos = {source: place for place, source in enumerate(dict.fromkeys(data.sources[row] for row in shuffled))}
    result: dict[str, IntArray] = {}
    for task in sorted({data.tasks[row] for row in shuffled}):
        taken: Counter[str] = Counter()
        keyed = []
        for row in (row for row in shuffled if data.tasks[row] == task):
            source = data.sources[row]
            keyed.append((taken[source], photos[source], row))
            taken[source] += 1
        result[task] = np.array([row for *_, row in sorted(keyed)], dtype=np.int64)
    return result


def _point(data: _Data, number: int, orders: Sequence[Mapping[str, IntArray]], outside: IntArray) -> dict[str, Any]:
    """One number of rated edits a task.

    Returns:
        number; edits (fitted on, all tasks); short ({task: edits} of tasks that have fewer, and gave all they have);
        fits, those with signal ("ok"), those that could not be done ("failed", with "reason"), and the most held-out
        edits that one of them left without a score ("unscorable"); each of `SHOWN` as {"mean", "low", "high", "fits"}
        over the fits for which it is defined, None if there are none; "tasks" the same by task.
    """
    available = {task: len(rows) for task, rows in orders[0].items()} if orders else {}
    short = {task: count for task, count in available.items() if count < number}
    point = {"number": number, "edits": sum(min(number, count) for count in available.values()), "short": short}
    found: list[dict[str, Any]] = []
    ok, reason = 0, ""
    if len(short) == len(available):
        most = max(available.values(), default=0)
        point["edits"], reason = 0, f"no task has that many rated edits to fit on; the most is {most}"
        orders = []
    for order in orders:
        rows = np.sort(np.concatenate([rows[:number] for rows in order.values()]))
        try:
            calibration = data.calibrate(rows)
        except HPEditError as error:
            reason = str(error)
            continue
        ok += calibration.verdict == "ok"
        prediction, _ = calibration.predict(data.features, data.tasks)
        found.append(_measure(data, outside, prediction, resamples=0))
    point |= {"fits": len(found), "ok": ok, "failed": len(orders) - len(found), "reason": reason}
    point["unscorable"] = max((len(outside) - part["n"] for part in found), default=0)
    tasks = {task: _spread([part["tasks"].get(task, {}) for part in found]) for task in _by_task(data, outside)}
    return point | _spread(found) | {"tasks": tasks}


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest of each measure over the draws in which it is defined."""
    result: dict[str, Any] = {}
    for name in SHOWN:
        values = [part[name]["value"] for part in found if name in part and part[name]["value"] is not None]
        bounds = {"low": min(values), "high": max(values), "fits": len(values)} if values else {}
        result[name] = {"mean": float(np.mean(values))} | bounds if values else None
    return result


def _measure(data: _Data, rows: IntArray, score: FloatArray, resamples: int) -> dict[str, Any]:
    """Measures of scores (n,) of all edits on the ``rows``, and by task if there are several; "n" of them had one."""

    def of(chosen: IntArray) -> dict[str, Any]:
        draws = Resamples.of([data.sources[row] for row in chosen.tolist()], resamples=resamples)
        return draws.as_json(draws.measure(score[chosen], data.target[chosen]))

    known = rows[~np.isnan(score[rows])]
    parts = _by_task(data, known)
    return of(known) | {"n": len(known), "tasks": {task: of(own) for task, own in parts.items()}}


def _human(data: _Data, rows: IntArray, ratings: FloatArray | None, seed: int) -> dict[str, Any]:
    """The human ceiling on the ``rows``, and by task; every value None without single ratings."""
    table = np.full((len(data.target), 1), np.nan) if ratings is None else ratings

    def of(chosen: IntArray) -> dict[str, Any]:
        ceiling = human_ceiling(table[chosen], [data.sources[row] for row in chosen.tolist()], seed, RESAMPLES)
        return {name: estimate.as_dict() for name, estimate in ceiling.items()}

    return of(rows) | {"tasks": {task: of(own) for task, own in _by_task(data, rows).items()}}


def _by_task(data: _Data, rows: IntArray) -> dict[str, IntArray]:
    """Rows of each task; empty if there is only one."""
    tasks = sorted({data.tasks[row] for row in rows.tolist()})
    if len(tasks) < 2:
        return {}
    return {task: np.array([row for row in rows.tolist() if data.tasks[row] == task], dtype=np.int64) for task in tasks}


def _part(data: _Data, rows: IntArray) -> dict[str, Any]:
    """What a part of the split holds."""
    chosen = rows.tolist()
    tasks = Counter(data.tasks[row] for row in chosen)
    return {
        "edits": len(chosen),
        "sources": len({data.sources[row] for row in chosen}),
        "tasks": dict(sorted(tasks.items())),
    }


def _check(numbers: Sequence[int], share: float, draws: int) -> None:
    if not numbers or min(numbers) < 1:
        raise HPEditError(f"numbers of rated edits {list(numbers)}: each must be at least 1")
    if not 0 < share < 1:
        raise HPEditError(f"a held-out share of {share:g}", hint="it must be above 0 and below 1")
    if draws < 1:
        raise HPEditError(f"{draws} draws: at least 1 is needed")
