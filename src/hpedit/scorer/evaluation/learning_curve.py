"""Learning curve: how agreement with people grows with the number of rated edits a task, and how many are worth rating.

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
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.calibration import Calibration
from hpedit.scorer.tables.fit_tables import RatedTable, fit_table
from hpedit.stats.bootstrap import FloatArray, IntArray, source_index
from hpedit.stats.correlation import MEASURES, RESAMPLES, Resamples
from hpedit.stats.rater_agreement import human_ceiling, mean_rating

NUMBERS = (10, 25, 50, 100)
"""Rated edits a task; the paper takes 50 to 100."""
DRAWS = 8
HELD_OUT = 0.4
"""Share of the photos that is measured on."""
SHOWN = (*MEASURES, "mae")


def learning_curve(
    table: RatedTable,
    numbers: Sequence[int] = NUMBERS,
    *,
    target: FloatArray | None = None,
    held_out: Sequence[bool] | None = None,
    share: float = HELD_OUT,
    draws: int = DRAWS,
    seed: int = 0,
    fit: Callable[[RatedTable], Calibration] = fit_table,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure calibrations fitted on growing numbers of rated edits.

    Args:
        table: rated edits with the judges' answers; the first judge's own overall score is "raw".
        numbers: rated edits a task to try.
        target: (n,) what is measured against, 0 to 5, NaN = left out; the mean ratings if None.
        held_out: (n,) edits to measure on; a random ``share`` of the photos if None.
        share: in (0, 1), see ``held_out``.
        draws: choices of edits a number.
        seed: of split and choices.
        fit: fits a calibration on some rows of the table.
        progress: called with a line after each number.

    Returns:
        JSON values: points (see `_point`), raw and human ({measure: {"value", "ci95"}}, and "tasks"), fitting and
        held_out ({"edits", "sources", "tasks": {task: edits}}), draws, seed, judge.

    Raises:
        HPEditError: numbers, share or draws out of range, fewer than two photos, a photo on both sides of ``held_out``.
    """
    _check(numbers, share, draws)
    target = mean_rating(table.ratings) if target is None else target
    raw = table.overall()
    inside, outside = _split(table, np.flatnonzero(~np.isnan(target) & ~np.isnan(raw)), held_out, share, seed)
    orders = [_order(table, inside, np.random.default_rng([seed, draw])) for draw in range(draws)]
    points = []
    for number in sorted(set(numbers)):
        points.append(_point(table, target, number, orders, outside, fit))
        if progress:
            progress(f"{number} rated edits a task: {draws - points[-1]['failed']} of {draws} fits")
    return {
        "judge": " + ".join(own.judge for own in table.judges),
        "points": points,
        "raw": _measure(table, target, outside, raw, RESAMPLES),
        "human": _human(table, outside, seed),
        "fitting": _part(table, inside),
        "held_out": _part(table, outside),
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
    table: RatedTable, rows: IntArray, held_out: Sequence[bool] | None, share: float, seed: int
) -> tuple[IntArray, IntArray]:
    """Those of the ``rows`` to fit on, and those to measure on."""
    sources = table.sources
    if held_out is None:
        photos = split_photos([sources[row] for row in rows.tolist()], share, seed)
        held_out = [source in photos for source in sources]
    outside = np.asarray(held_out, dtype=bool)[rows]
    inside, measured = ({sources[row] for row in part.tolist()} for part in (rows[~outside], rows[outside]))
    if both := inside & measured:
        raise HPEditError(f"photo {min(both)} is both fitted and measured on", hint="split by photo, not by edit")
    return rows[~outside], rows[outside]


def _order(table: RatedTable, rows: IntArray, rng: np.random.Generator) -> dict[str, IntArray]:
    """Rows of each task in the order in which they are taken: every photo once, then every photo again."""
    shuffled = rng.permutation(rows).tolist()
    photos = {source: place for place, source in enumerate(dict.fromkeys(table.sources[row] for row in shuffled))}
    result: dict[str, IntArray] = {}
    for task in sorted({table.tasks[row] for row in shuffled}):
        taken: Counter[str] = Counter()
        keyed = []
        for row in (row for row in shuffled if table.tasks[row] == task):
            source = table.sources[row]
            keyed.append((taken[source], photos[source], row))
            taken[source] += 1
        result[task] = np.array([row for *_, row in sorted(keyed)], dtype=np.int64)
    return result


def _point(
    table: RatedTable,
    target: FloatArray,
    number: int,
    orders: Sequence[Mapping[str, IntArray]],
    outside: IntArray,
    fit: Callable[[RatedTable], Calibration],
) -> dict[str, Any]:
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
            calibration = fit(table.rows(rows))
        except HPEditError as error:
            reason = str(error)
            continue
        ok += calibration.verdict == "ok"
        prediction, _ = calibration.predict(table.features, table.tasks)
        found.append(_measure(table, target, outside, prediction, resamples=0))
    point |= {"fits": len(found), "ok": ok, "failed": len(orders) - len(found), "reason": reason}
    point["unscorable"] = max((len(outside) - part["n"] for part in found), default=0)
    tasks = {task: _spread([part["tasks"].get(task, {}) for part in found]) for task in _by_task(table, outside)}
    return point | _spread(found) | {"tasks": tasks}


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest of each measure over the draws in which it is defined."""
    result: dict[str, Any] = {}
    for name in SHOWN:
        values = [part[name]["value"] for part in found if name in part and part[name]["value"] is not None]
        bounds = {"low": min(values), "high": max(values), "fits": len(values)} if values else {}
        result[name] = {"mean": float(np.mean(values))} | bounds if values else None
    return result


def _measure(
    table: RatedTable, target: FloatArray, rows: IntArray, score: FloatArray, resamples: int
) -> dict[str, Any]:
    """Measures of scores (n,) of all edits on the ``rows``, and by task if there are several; "n" of them had one."""

    def of(chosen: IntArray) -> dict[str, Any]:
        draws = Resamples.of([table.sources[row] for row in chosen.tolist()], resamples=resamples)
        return draws.as_json(draws.measure(score[chosen], target[chosen]))

    known = rows[~np.isnan(score[rows])]
    parts = _by_task(table, known)
    return of(known) | {"n": len(known), "tasks": {task: of(own) for task, own in parts.items()}}


def _human(table: RatedTable, rows: IntArray, seed: int) -> dict[str, Any]:
    """The human ceiling on the ``rows``, and by task; every value None with one rater."""

    def of(chosen: IntArray) -> dict[str, Any]:
        ceiling = human_ceiling(table.ratings[chosen], [table.sources[row] for row in chosen.tolist()], seed, RESAMPLES)
        return {name: estimate.as_dict() for name, estimate in ceiling.items()}

    return of(rows) | {"tasks": {task: of(own) for task, own in _by_task(table, rows).items()}}


def _by_task(table: RatedTable, rows: IntArray) -> dict[str, IntArray]:
    """Rows of each task; empty if there is only one."""
    names = np.array([table.tasks[row] for row in rows.tolist()], dtype=np.str_)
    tasks = sorted(set(names.tolist()))
    return {task: rows[names == task] for task in tasks} if len(tasks) > 1 else {}


def _part(table: RatedTable, rows: IntArray) -> dict[str, Any]:
    """What a part of the split holds."""
    chosen = rows.tolist()
    tasks = Counter(table.tasks[row] for row in chosen)
    return {
        "edits": len(chosen),
        "sources": len({table.sources[row] for row in chosen}),
        "tasks": dict(sorted(tasks.items())),
    }


def _check(numbers: Sequence[int], share: float, draws: int) -> None:
    if not numbers or min(numbers) < 1:
        raise HPEditError(f"numbers of rated edits {list(numbers)}: each must be at least 1")
    if not 0 < share < 1:
        raise HPEditError(f"a held-out share of {share:g}", hint="it must be above 0 and below 1")
    if draws < 1:
        raise HPEditError(f"{draws} draws: at least 1 is needed")
