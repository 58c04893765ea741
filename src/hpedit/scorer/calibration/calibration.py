"""Turn judges' answers into scores on the human scale, from a small set of human ratings.

    calibration = fit_calibration(features, names, tasks, target, sources, judge="gpt4o")
    mean, std = calibration.predict(features, tasks)        # 0 to 5; NaN where nothing can be said
    calibration.questions                                   # the reasoning questions that help, by task: ask only these

Three steps, each chosen by cross-validation that keeps all edits of one photo together:

1. base (`selection`): the answers to the base questions, mapped by one family of monotone models or a mean of several;
2. questions (`question_stage`): answers to reasoning questions, kept task by task if they help;
3. judges (`blend`): several judges in one score; those that do not clearly help get no weight.

An outer round of the same kind measures what the whole procedure is worth on photos it has not seen, beside each family
alone and the judge's own overall score; a judge whose lower bound there is under `MIN_SIGNAL` is reported as "no
signal". Task averages do not count as signal: a judge that looks at no edit would have them too.

Missing answers (NaN) are replaced by what is expected given the answers that are there, and the deviation grows by what
that leaves open. An edit without any answer is unscorable: NaN.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from scipy.optimize import nnls

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.calibration.choice import describe, nested_scores
from hpedit.scorer.calibration.ensemble import Blend, fit_blend
from hpedit.scorer.calibration.parts import (
    MIN_SIGNAL,
    JudgeAnswers,
    JudgeTable,
    Part,
    Verdict,
    judge_signal,
    make_table,
    read_estimate,
    within_tasks,
    write_estimate,
)
from hpedit.scorer.calibration.selection import source_hash
from hpedit.stats.bootstrap import Estimate, FloatArray, IntArray

__all__ = ["MIN_SIGNAL", "Calibration", "JudgeAnswers", "Verdict", "fit_calibration", "fit_judges"]

FORMAT = 2
"""Version of the JSON; another one is refused."""

MIN_EDITS = 20
"""Fewer rated edits than this cannot be split five ways and leave anything to measure."""
MIN_SOURCES = 5
"""One photo a fold, at least."""

Columns = Mapping[str, tuple[float, float]]
"""Worst and best answer of each column of a table whose rubric is not a known one."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration. Immutable; `to_json` and `from_json` are exact inverses."""

    parts: tuple[Part, ...]
    """One a judge."""
    blend: Blend
    noise: tuple[float, ...]
    """Variance of a score at mean m is noise . [1, m, m (5 - m)], from cross-validated residuals."""
    tasks: tuple[str, ...]
    n: int
    """Rated edits it was fitted on."""
    sources: tuple[str, ...]
    """Hashes of the photos it was fitted on, sorted; see `source_hash`."""
    pearson: Estimate
    """Cross-validated correlation with the mean rating, within tasks."""
    rmse: float
    """Cross-validated, 0 to 5."""
    verdict: Verdict
    reason: str
    choice: Mapping[str, Any] = field(default_factory=dict)
    """What won and by how much; see `choice.describe`."""
    columns: Columns = field(default_factory=dict)
    """Of the tables it is used on, if their rubric is not a known one."""

    def predict(self, features: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Mean (n,) in 0 to 5 and standard deviation (n,) of the human score, NaN where no answer is there.

        Args:
            features: (n, f) in the order of ``feature_names``, NaN = missing.
            tasks: (n,) task ids; one that was not fitted takes what all tasks share.

        Raises:
            HPEditError: another number of features or of tasks.
        """
        table = _checked_table(features, self.feature_names, tasks)
        ends = np.cumsum([len(part.feature_names) for part in self.parts])[:-1]
        own = [part.predict(block, tasks) for part, block in zip(self.parts, np.hsplit(table, ends), strict=True)]
        scores, variances = (np.column_stack([pair[number] for pair in own]) for number in range(2))
        mean, extra = self.blend.predict(scores, variances)
        return mean, np.sqrt(_noise_basis(mean) @ np.array(self.noise) + extra)

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the judges, in the order of their features."""
        return tuple(part.judge for part in self.parts)

    @property
    def judge(self) -> str:
        """Names of the judges in one text."""
        return " + ".join(self.judges)

    @property
    def weights(self) -> dict[str, float]:
        """How much each judge counts; 0 for one without signal, and for one that others make superfluous."""
        weights = dict.fromkeys(self.judges, 0.0)
        return weights | dict(zip([self.judges[j] for j in self.blend.judges], self.blend.weights, strict=True))

    @property
    def main(self) -> int:
        """Position of the judge that counts most."""
        return int(np.argmax(list(self.weights.values())))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of all judges in a row; with several of them each name begins with its judge's."""
        return join_names([(part.judge, part.feature_names) for part in self.parts])

    @property
    def questions(self) -> dict[str, tuple[str, ...]]:
        """Features of the reasoning questions that are kept, by task, for every task it was fitted on."""
        return {
            task: join_names([(part.judge, part.kept_questions.get(task, ())) for part in self.parts])
            for task in self.tasks
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything it holds."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    @property
    def sources_sha256(self) -> str:
        """SHA-256 (hex) over the hashes of the photos it was fitted on."""
        return hashlib.sha256("\n".join(self.sources).encode()).hexdigest()

    def judges_report(self) -> dict[str, dict[str, Any]]:
        """For each judge: verdict, reason, weight, and its own cross-validated correlation."""
        return {
            part.judge: {
                "verdict": part.verdict,
                "reason": part.reason,
                "weight": self.weights[part.judge],
                "pearson": part.pearson.as_dict(),
            }
            for part in self.parts
        }

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values, with the fingerprint."""
        return {
            **self._content(),
            "judge": self.judge,
            "judges": self.judges_report(),
            "sources_sha256": self.sources_sha256,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`.

        Raises:
            HPEditError: another format, a missing or misshapen entry, or a content that is not what was fingerprinted.
        """
        if not isinstance(data, Mapping):
            raise HPEditError("not a calibration", hint="fit it again: hpedit scorer fit")
        if data.get("format") != FORMAT:
            raise HPEditError(
                f"a calibration of format {data.get('format')!r}, not {FORMAT}", hint="fit it again: hpedit scorer fit"
            )
        try:
            calibration = cls._from_content(data)
            intact = calibration.fingerprint == data.get("fingerprint")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HPEditError(f"not a calibration: {error!r}", hint="fit it again: hpedit scorer fit") from error
        if not intact:
            raise HPEditError(
                "the calibration was changed after it was fitted: its fingerprint does not match",
                hint="fit it again: hpedit scorer fit",
            )
        return calibration

    @classmethod
    def _from_content(cls, data: Mapping[str, Any]) -> Calibration:
        return cls(
            parts=tuple(Part.from_json(part) for part in data["parts"]),
            blend=Blend.from_json(data["blend"]),
            noise=tuple(data["noise"]),
            tasks=tuple(data["tasks"]),
            n=data["n"],
            sources=tuple(data["sources"]),
            pearson=read_estimate(data["pearson"]),
            rmse=data["rmse"],
            verdict=data["verdict"],
            reason=data["reason"],
            choice=data["choice"],
            columns={name: (scale[0], scale[1]) for name, scale in data["columns"].items()},
        )

    def _content(self) -> dict[str, Any]:
        """Everything but what follows from it, as JSON values (tuples become lists)."""
        plain = ("noise", "tasks", "n", "sources", "rmse", "verdict", "reason", "choice", "columns")
        content = {"format": FORMAT, **{name: getattr(self, name) for name in plain}}
        content |= {"parts": [part.to_json() for part in self.parts], "blend": asdict(self.blend)}
        content["pearson"] = write_estimate(self.pearson)
        return cast(dict[str, Any], json.loads(json.dumps(content, allow_nan=False)))


def fit_calibration(
    features: FloatArray,
    feature_names: Sequence[str],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    judge: str = "",
    questions: Mapping[str, Sequence[str]] | None = None,
    *,
    exclusive: Sequence[Collection[str]] = (),
    derived: Collection[str] = (),
) -> Calibration:
    """Fit a calibration of one judge and measure it by cross-validation over photos.

    Args:
        features: (n, f) the judge's answers, NaN = missing. The first is its own overall score. All must speak for
            the edit when they rise, but those named spread, entropy or p0, p1, ... Those named "q:..." are answers
            to reasoning questions, NaN = not asked or unreadable.
        feature_names: (f,) distinct names.
        tasks: (n,) task ids.
        target: (n,) mean human rating, 0 to 5.
        sources: (n,) photo ids; all edits of a photo stay on one side of every split.
        judge: name of the judge, kept in the result.
        questions: features "q:..." to consider, by task; all that are answered for half of a task's edits if None.
        exclusive: groups of questions of which at most one is kept a task.
        derived: features that are functions of others.

    Raises:
        HPEditError: too few rated edits or photos, ratings that are all equal or off the scale, no answer at all.
    """
    answers = JudgeAnswers(judge, tuple(feature_names), features, tuple(derived))
    return fit_judges([answers], tasks, target, sources, questions, exclusive=exclusive)


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
    """Fit a calibration of one or several judges; see `fit_calibration`.

    An edit that no judge answered is left out; one that some answered is scored from these.

    Raises:
        HPEditError: as in `fit_calibration`; two judges have one name; one answered about too few photos.
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
    blend = fit_blend(held, [part.verdict == "ok" for part in parts], rated, names)
    pearson = parts[0].pearson if len(parts) == 1 else within_tasks(scores, rated, own_tasks, names)
    verdict, reason = (parts[0].verdict, parts[0].reason) if len(parts) == 1 else judge_signal(pearson)
    known = ~np.isnan(scores)
    return Calibration(
        parts=parts,
        blend=blend,
        noise=_fit_noise(scores[known], rated[known]),
        tasks=tuple(sorted(set(own_tasks))),
        n=len(rows),
        sources=tuple(sorted({source_hash(name) for name in names})),
        pearson=pearson,
        rmse=float(np.sqrt(np.mean((scores[known] - rated[known]) ** 2))),
        verdict=verdict,
        reason=reason,
        choice=describe(tables, parts, nested.scores, nested.parts, nested.singles, nested.chosen),
        columns=columns or {},
    )


def join_names(groups: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """Feature names of judges in a row, each with its judge's name in front if there are several."""
    return tuple(f"{judge}/{name}" if len(groups) > 1 else name for judge, names in groups for name in names)


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
    values = [_checked_table(judge.values, judge.names, tasks) for judge in judges]
    rated = np.asarray(target, dtype=np.float64)
    _check_target(rated, len(tasks), sources)
    ranks = [np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1] for names in (tasks, sources)]
    order = np.lexsort([*np.nan_to_num(np.hstack(values), nan=np.finfo(np.float64).min).T[::-1], rated, *ranks])
    own_tasks, own_sources = ([names[row] for row in order.tolist()] for names in (tasks, sources))
    tables = [
        make_table(
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


def _noise_basis(mean: FloatArray) -> FloatArray:
    return np.column_stack([np.ones_like(mean), mean, mean * (MAX_SCORE - mean)])


def _fit_noise(mean: FloatArray, target: FloatArray) -> tuple[float, ...]:
    """Non-negative least squares of the squared residuals on the basis; never under a tenth of their mean."""
    squared = (target - mean) ** 2
    basis = _noise_basis(mean)
    coefficients, _ = nnls(basis, squared)
    floor = 0.1 * float(squared.mean())
    return (max(float(coefficients[0]), floor), float(coefficients[1]), float(coefficients[2]))


def _checked_table(features: FloatArray, names: Sequence[str], tasks: Sequence[str]) -> FloatArray:
    """Features as (n, f) floats."""
    table = np.asarray(features, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names) or len(table) != len(tasks):
        raise HPEditError(
            f"features of shape {table.shape} for {len(tasks)} edits",
            hint=f"one row an edit, one column for each of: {', '.join(names)}",
        )
    if len(set(names)) < len(names) or not names:
        raise HPEditError(f"feature names must be distinct and at least one: {', '.join(names)}")
    if np.isinf(table).any():
        raise HPEditError("a feature is infinite", hint="a missing answer is NaN")
    return table


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
