"""Turn a judge's answers into scores on the human scale, from a small set of human ratings.

    calibration = fit_calibration(features, names, tasks, target, sources, judge="gpt4o")
    mean, std = calibration.predict(features, tasks)        # 0 to 5; NaN where nothing can be said

What is fitted is the monotone linear model of `monotone`, on the judge's answers and, if that predicts better, on ramps
of the first one (a piecewise-linear curve). Strength of shrinkage, of pooling between tasks, and the curve are chosen
by cross-validation that keeps all edits of one photo together. A second, outer round of the same kind measures what
the whole procedure is worth on photos it has not seen; a judge whose lower bound there is under `MIN_SIGNAL` is
reported as "no signal". Task averages do not count as signal: a judge that looks at no edit would have it too.

Missing answers (NaN) are replaced by their expectation given the answers that are there, and the deviation grows by
what that leaves open. An edit without any answer is unscorable: NaN.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
from scipy.optimize import nnls

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE, MIN_SCORE
from hpedit.scorer.design import Design
from hpedit.scorer.monotone import LinearFit, Penalty
from hpedit.scorer.selection import RatedEdits, apply, source_hash
from hpedit.scorer.statistics import Estimate, FloatArray, bootstrap_by_source, source_index, weighted_pearson

Verdict = Literal["ok", "no signal"]

FORMAT = 1
"""Version of the JSON; another one is refused."""

MIN_EDITS = 20
"""Fewer rated edits than this cannot be split five ways and leave anything to measure."""
MIN_SOURCES = 5
"""One photo a fold, at least."""
MIN_SIGNAL = 0.1
"""Least lower bound of the cross-validated correlation within tasks. Below it a scorer explains under 1 % of what
people see, and as a reward it would be noise."""

_UNDIRECTED = re.compile(r"spread|entropy|p\d")
"""Features without a good direction: dispersion, and the probabilities of single answers."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration. Immutable; `to_json` and `from_json` are exact inverses."""

    judge: str
    feature_names: tuple[str, ...]
    used: tuple[int, ...]
    """Positions of the features that enter: those answered for at least half of the rated edits."""
    design: Design
    fit: LinearFit
    penalty: Penalty
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

    def predict(self, features: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Mean (n,) in 0 to 5 and standard deviation (n,) of the human score, NaN where no answer is there.

        Args:
            features: (n, f) in the order of ``feature_names``, NaN = missing.
            tasks: (n,) task ids; one that was not fitted takes what all tasks share.

        Raises:
            HPEditError: another number of features or of tasks.
        """
        table = _checked_table(features, self.feature_names, tasks)
        columns, gaps = self.design.transform(table[:, list(self.used)])
        mean, extra = apply(self.fit, columns, gaps, tasks)
        variance = _noise_basis(mean) @ np.array(self.noise) + extra
        return mean, np.sqrt(variance)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything it holds."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    @property
    def sources_sha256(self) -> str:
        """SHA-256 (hex) over the hashes of the photos it was fitted on."""
        return hashlib.sha256("\n".join(self.sources).encode()).hexdigest()

    def seen(self, sources: Sequence[str]) -> int:
        """Count the distinct ``sources`` that it was fitted on: 0 for a held-out set."""
        known = set(self.sources)
        return sum(source_hash(source) in known for source in set(sources))

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values, with the fingerprint."""
        return {**self._content(), "sources_sha256": self.sources_sha256, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`.

        Raises:
            HPEditError: another format, a missing or misshapen entry, or a content that is not what was fingerprinted.
        """
        if data.get("format") != FORMAT:
            raise HPEditError(
                f"a calibration of format {data.get('format')!r}, not {FORMAT}", hint="fit it again: hpedit scorer fit"
            )
        try:
            calibration = cls._from_content(data)
        except (KeyError, TypeError, ValueError) as error:
            raise HPEditError(f"not a calibration: {error!r}", hint="fit it again: hpedit scorer fit") from error
        if calibration.fingerprint != data.get("fingerprint"):
            raise HPEditError(
                "the calibration was changed after it was fitted: its fingerprint does not match",
                hint="fit it again: hpedit scorer fit",
            )
        return calibration

    @classmethod
    def _from_content(cls, data: Mapping[str, Any]) -> Calibration:
        return cls(
            judge=data["judge"],
            feature_names=tuple(data["feature_names"]),
            used=tuple(data["used"]),
            design=Design.from_json(data["design"]),
            fit=LinearFit(**{**data["fit"], "weights": tuple(data["fit"]["weights"])}),
            penalty=Penalty(**data["penalty"]),
            noise=tuple(data["noise"]),
            tasks=tuple(data["tasks"]),
            n=data["n"],
            sources=tuple(data["sources"]),
            pearson=_read_estimate(data["pearson"]),
            rmse=data["rmse"],
            verdict=data["verdict"],
            reason=data["reason"],
        )

    def _content(self) -> dict[str, Any]:
        """Everything but the fingerprint, as JSON values (tuples become lists, NaN becomes None)."""
        plain = ("judge", "feature_names", "used", "noise", "tasks", "n", "sources", "rmse", "verdict", "reason")
        content = {"format": FORMAT, "design": self.design.to_json(), **{name: getattr(self, name) for name in plain}}
        content |= {"fit": asdict(self.fit), "penalty": asdict(self.penalty)}
        content["pearson"] = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self.pearson).items()
        }
        return cast(dict[str, Any], json.loads(json.dumps(content, allow_nan=False)))


def fit_calibration(
    features: FloatArray,
    feature_names: Sequence[str],
    tasks: Sequence[str],
    target: FloatArray,
    sources: Sequence[str],
    judge: str = "",
) -> Calibration:
    """Fit a calibration and measure it by cross-validation over photos.

    Args:
        features: (n, f) the judge's answers, NaN = missing. The first is its own overall score. All must speak for
            the edit when they rise, but those named spread, entropy or p0, p1, ...
        feature_names: (f,) distinct names.
        tasks: (n,) task ids.
        target: (n,) mean human rating, 0 to 5.
        sources: (n,) photo ids; all edits of a photo stay on one side of every split.
        judge: name of the judge, kept in the result.

    Raises:
        HPEditError: too few rated edits or photos, ratings that are all equal or off the scale, no answer at all.
    """
    table, rated = _checked_table(features, feature_names, tasks), np.asarray(target, dtype=np.float64)
    _check_target(rated, len(table), sources)
    used, rows = _usable(table, judge)
    data = RatedEdits(
        table[np.ix_(rows, used)],
        tuple(_UNDIRECTED.fullmatch(feature_names[position]) is None for position in used),
        [tasks[row] for row in rows],
        rated[rows],
        [sources[row] for row in rows],
    )
    _check_enough(data)
    held_out = data.nested_predictions()
    pearson = _within_tasks(held_out, data)
    verdict, reason = _judge_signal(pearson, data)
    design, penalty, fit = data.best(np.arange(len(data.target)))
    return Calibration(
        judge=judge,
        feature_names=tuple(feature_names),
        used=tuple(used),
        design=design,
        fit=fit,
        penalty=penalty,
        noise=_fit_noise(held_out, data.target),
        tasks=tuple(sorted(set(data.tasks))),
        n=len(data.target),
        sources=tuple(sorted({source_hash(source) for source in data.sources})),
        pearson=pearson,
        rmse=float(np.sqrt(np.mean((held_out - data.target) ** 2))),
        verdict=verdict,
        reason=reason,
    )


def _read_estimate(data: Mapping[str, Any]) -> Estimate:
    value, low, high = (math.nan if data[key] is None else float(data[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, int(data["n"]), int(data["sources"]))


def _noise_basis(mean: FloatArray) -> FloatArray:
    return np.column_stack([np.ones_like(mean), mean, mean * (MAX_SCORE - mean)])


def _fit_noise(mean: FloatArray, target: FloatArray) -> tuple[float, ...]:
    """Non-negative least squares of the squared residuals on the basis; never under a tenth of their mean."""
    squared = (target - mean) ** 2
    basis = _noise_basis(mean)
    coefficients, _ = nnls(basis, squared)
    floor = 0.1 * float(squared.mean())
    return (max(float(coefficients[0]), floor), float(coefficients[1]), float(coefficients[2]))


def _within_tasks(prediction: FloatArray, data: RatedEdits) -> Estimate:
    """Correlation of predictions with ratings after each task's average is taken from both."""
    table = np.column_stack([prediction, data.target])
    _, task = source_index(data.tasks)
    for number in range(task.max() + 1):
        own = task == number
        # A judge that does not vary must stay exactly constant, which x - mean(x) need not be.
        table[own] -= np.where(np.ptp(table[own], axis=0) > 1e-9, table[own].mean(axis=0), table[own])
    return bootstrap_by_source(table, data.sources, weighted_pearson)


def _judge_signal(pearson: Estimate, data: RatedEdits) -> tuple[Verdict, str]:
    """Verdict, and the sentence that explains it."""
    constant = (np.nanmax(data.features, axis=0) == np.nanmin(data.features, axis=0)).all()
    if constant:
        return "no signal", "the judge gives every edit the same answers"
    if math.isnan(pearson.value):
        return "no signal", "the judge's answers say nothing of the ratings of photos it was not fitted on"
    facts = f"correlation with people on photos not fitted on is {pearson.value:.2f}"
    if not math.isnan(pearson.low):
        facts += f", 95 % interval {pearson.low:.2f} to {pearson.high:.2f}"
    facts += f" ({pearson.n} edits of {pearson.sources} photos)"
    if pearson.low > MIN_SIGNAL:
        return "ok", facts
    return "no signal", f"{facts}; its lower end must be above {MIN_SIGNAL}"


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


def _usable(table: FloatArray, judge: str) -> tuple[list[int], list[int]]:
    """Features answered for at least half of the edits, and the edits that have one of them."""
    known = ~np.isnan(table)
    used = np.flatnonzero(2 * known.sum(axis=0) >= max(1, len(table))).tolist()
    if len(table) and not used:
        raise HPEditError(
            f"judge {judge or '(unnamed)'} has readable answers for {int(known.any(axis=1).sum())} of {len(table)} "
            "rated edits: too few to calibrate",
            hint="look at its raw answers: refusals, timeouts and words instead of numbers count as unreadable",
        )
    return used, np.flatnonzero(known[:, used].any(axis=1)).tolist()


def _check_enough(data: RatedEdits) -> None:
    photos = len(set(data.sources))
    if len(data.target) < MIN_EDITS or photos < MIN_SOURCES:
        raise HPEditError(
            f"{len(data.target)} rated and scored edits of {photos} photos are too few to calibrate",
            hint=f"at least {MIN_EDITS} edits of {MIN_SOURCES} photos are needed; 50 to 100 a task are recommended",
        )
    if np.ptp(data.target) == 0:
        raise HPEditError(
            f"all {len(data.target)} edits are rated {data.target[0]:g}: ratings that do not differ teach nothing",
            hint="rate edits of differing quality",
        )
