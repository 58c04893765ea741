"""Fit a calibration: turn judges' answers into scores on the human scale, from a small set of human ratings.

    calibration = fit_judges([JudgeAnswers("gpt4o", names, features), ...], tasks, target, sources)

Three steps, each chosen by cross-validation that keeps all edits of one photo together:

1. base (`selection`): the answers to the base questions, mapped by one family of monotone models or a mean of several;
2. questions (`question_stage`): answers to reasoning questions, kept task by task if they help;
3. judges (`ensemble`): several judges in one score; those that do not clearly help get no weight.

An outer round of the same kind (nested cross-validation) measures what the whole procedure is worth on photos it has
not seen, beside each family alone and the judge's own overall score; a judge whose lower bound there is under
`MIN_SIGNAL` is reported as "no signal". Task averages do not count as signal: a judge that looks at no edit would have
them too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.calibration.base_selection import source_hash
from hpedit.scorer.calibration.calibration import Calibration, Columns, check_features, noise_basis
from hpedit.scorer.calibration.choice import describe_choice, nested_scores
from hpedit.scorer.calibration.ensemble import fit_ensemble
from hpedit.scorer.calibration.judge_table import JudgeAnswers, JudgeTable, judge_signal, make_judge_table, within_tasks
from hpedit.stats.bootstrap import FloatArray, IntArray

MIN_EDITS = 20
"""Fewer rated edits than this cannot be split five ways and leave anything to measure."""
MIN_SOURCES = 5
"""One photo a fold, at least."""


def fit_judges(
    judges: Sequence[JudgeAnswers],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    questions: Mapping[str, Sequence[str]] | None = None,
    *,
    exclusive: Sequence[Collection[str]] = (),
    columns: Columns | None = None,
) -> Calibration:
    """Fit a calibration of one or several judges and measure it by nested cross-validation over photos.

    An edit that no judge answered is left out; one that some answered is scored from these.

    Args:
        judges: their answers. All features must favour the edit when they rise, but those named spread, entropy or p0,
            p1, ...; those named "q:..." are answers to reasoning questions, NaN = not asked or unreadable.
        tasks: (n,) task ids.
        target: (n,) mean human rating, 0 to 5.
        sources: (n,) photo ids; all edits of a photo stay on one side of every split.
        questions: features "q:..." to consider, by task; all that are answered for half of a task's edits if None.
        exclusive: groups of questions of which at most one is kept per task.
        columns: kept in the result; see `Calibration.columns`.

    Raises:
        HPEditError: too few rated edits or photos, ratings that are all equal or off the scale, no answer at all, two
            judges with one name, a judge that answered about too few photos.
    """
    tables, rows = _tables(judges, tasks, target, sources, questions, exclusive)
    data = tables[0].data
    _check_enough(data.target[rows], [data.sources[row] for row in rows.tolist()])
    _check_spread(tables, rows)
    nested = nested_scores(tables, rows)
    fitted = [table.fit(rows) for table in tables]
    parts = tuple(
        table.part(part.base, part.questions, nested.parts[rows, number], rows)
        for number, (table, (part, _, _)) in enumerate(zip(tables, fitted, strict=True))
    )
    held = np.column_stack([scores for _, scores, _ in fitted])
    own_tasks, names = ([column[row] for row in rows.tolist()] for column in (data.tasks, data.sources))
    rated, scores = data.target[rows], nested.scores[rows]
    ensemble = fit_ensemble(held, [part.verdict == "ok" for part in parts], rated, names)
    pearson = parts[0].pearson if len(parts) == 1 else within_tasks(scores, rated, own_tasks, names)
    verdict, reason = (parts[0].verdict, parts[0].reason) if len(parts) == 1 else judge_signal(pearson)
    known = ~np.isnan(scores)
    return Calibration(
        parts=parts,
        ensemble=ensemble,
        noise=_fit_noise(scores[known], rated[known]),
        tasks=tuple(sorted(set(own_tasks))),
        n=len(rows),
        sources=tuple(sorted({source_hash(name) for name in names})),
        pearson=pearson,
        rmse=float(np.sqrt(np.mean((scores[known] - rated[known]) ** 2))),
        verdict=verdict,
        reason=reason,
        choice=describe_choice(tables, parts, nested.scores, nested.parts, nested.singles, nested.chosen),
        columns=columns or {},
    )


def _tables(
    judges: Sequence[JudgeAnswers],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    questions: Mapping[str, Sequence[str]] | None,
    exclusive: Sequence[Collection[str]],
) -> tuple[list[JudgeTable], IntArray]:
    """Each judge's answers to the edits in one order that does not depend on theirs; and the edits with an answer."""
    if not judges or len({judge.judge for judge in judges}) < len(judges):
        raise HPEditError("judges must have distinct names, and there must be one")
    values = [check_features(judge.values, judge.names, tasks) for judge in judges]
    rated = np.asarray(target, dtype=np.float64)
    _check_target(rated, len(tasks), sources)
    ranks = [np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1] for names in (tasks, sources)]
    order = np.lexsort([*np.nan_to_num(np.hstack(values), nan=np.finfo(np.float64).min).T[::-1], rated, *ranks])
    own_tasks, own_sources = ([names[row] for row in order.tolist()] for names in (tasks, sources))
    tables = [
        make_judge_table(
            JudgeAnswers(judge.judge, judge.names, own[order], judge.derived),
            own_tasks,
            rated[order],
            own_sources,
            questions,
            exclusive,
        )
        for judge, own in zip(judges, values, strict=True)
    ]
    known = [table.known for table in tables]
    return tables, np.unique(np.concatenate(known)).astype(np.int64)


def _check_spread(tables: Sequence[JudgeTable], rows: IntArray) -> None:
    """Refuse a judge that answered about so few photos that a part of the cross-validation could be left without."""
    sources = tables[0].data.sources
    photos = len({sources[row] for row in rows.tolist()})
    for table in tables:
        known = len({sources[row] for row in table.known.tolist()})
        if known < MIN_SOURCES or 2 * known < photos:
            raise HPEditError(
                f"judge {table.answers.judge} has readable answers about {known} of {photos} photos: "
                "too few to calibrate",
                hint=f"it needs half of them, and {MIN_SOURCES} at least; or leave it out",
            )


def _fit_noise(mean: FloatArray, target: FloatArray) -> tuple[float, ...]:
    """Non-negative least squares of the squared residuals on the basis; never under a tenth of their mean."""
    squared = (target - mean) ** 2
    basis = noise_basis(mean)
    coefficients, _ = nnls(basis, squared)
    floor = 0.1 * float(squared.mean())
    return (max(float(coefficients[0]), floor), float(coefficients[1]), float(coefficients[2]))


def _check_target(target: FloatArray, n: int, sources: Sequence[str]) -> None:
    if target.shape != (n,) or len(sources) != n:
        raise HPEditError(f"{n} edits but {target.size} ratings and {len(sources)} source ids: each edit needs one")
    if not ((target >= MIN_SCORE) & (target <= MAX_SCORE)).all():
        raise HPEditError("a mean rating is missing or not in 0 to 5", hint="leave unrated edits out")


def _check_enough(target: FloatArray, sources: Sequence[str]) -> None:
    photos = len(set(sources))
    if len(target) < MIN_EDITS or photos < MIN_SOURCES:
        raise HPEditError(
            f"{len(target)} rated and scored edits of {photos} photos are too few to calibrate",
            hint=f"at least {MIN_EDITS} edits of {MIN_SOURCES} photos are needed; 50 to 100 a task are recommended",
        )
    if np.ptp(target) == 0:
        raise HPEditError(
            f"all {len(target)} edits are rated {target[0]:g}: ratings that do not differ teach nothing",
            hint="rate edits of differing quality",
        )
