"""A fitted calibration: judges' answers in, scores on the human scale (0 to 5) out; stored as calibration.json.

    calibration = fit_judges([JudgeAnswers("gpt4o", names, features)], tasks, target, sources)      # see `fit`
    mean, std = calibration.predict(features, tasks)        # 0 to 5; NaN for an edit without any answer
    calibration.questions                                   # the reasoning questions that help, by task: ask only these

A prediction takes three steps:

1. base score (`BaseScore`): the answers to the base questions, mapped by one of `MODELS` or the mean of several;
2. questions (`QuestionStage`): answers to reasoning questions move it, in the tasks in which they help;
3. ensemble (`Ensemble`): the judges' scores become one.

Missing answers (NaN) are imputed from the observed ones, and the deviation grows by the variance that this leaves. An
edit without any answer is unscorable: NaN. One score runs only this file, `fitted_models` and `imputation`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import numpy as np

from hpedit.errors import HPEditError
from hpedit.records import MAX_SCORE
from hpedit.scorer.calibration.fitted_models import MODELS, Model, QuestionStage, QuestionWeights, soft_clip
from hpedit.scorer.calibration.imputation import Imputation
from hpedit.scorer.prompts import PREFIX
from hpedit.stats.bootstrap import Estimate, FloatArray

FORMAT = 2
"""Version of the JSON; another one is refused."""

Columns = Mapping[str, tuple[float, float]]
"""Worst and best answer of each column of a table whose rubric is not a known one."""
Setting = Mapping[str, float | None]
"""Hyperparameters of a model family; JSON values."""
SignalVerdict = Literal["ok", "no signal"]
"""Whether a judge's scores correlate with people's on photos that they were not fitted on."""


@dataclass(frozen=True, slots=True)
class BaseScore:
    """Maps one judge's answers to the base questions to a score: the mean of fitted models, one a family."""

    imputation: Imputation
    settings: dict[str, Setting]
    """By family, as the models."""
    models: dict[str, Model]

    @property
    def name(self) -> str:
        """The families."""
        return " + ".join(self.models)

    def predict(self, answers: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and the variance (n,) that missing answers leave; NaN for an edit without any answer."""
        return self.imputation.predict(self._mean, answers, tasks)

    def _mean(self, answers: FloatArray, tasks: Sequence[str]) -> FloatArray:
        mean: FloatArray = np.mean([model.predict(answers, tasks) for model in self.models.values()], axis=0)
        return mean

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        return {
            "filling": asdict(self.imputation),
            "settings": {name: dict(setting) for name, setting in self.settings.items()},
            "models": {name: asdict(model) for name, model in self.models.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BaseScore:
        """Inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        models = {name: MODELS[name].from_json(model) for name, model in data["models"].items()}
        return cls(Imputation(**data["filling"]), data["settings"], models)


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """One judge's fitted calibration: from its answers to a score, which needs at least one of those that enter."""

    judge: str
    feature_names: tuple[str, ...]
    used: tuple[int, ...]
    """Positions of the features that enter the base score: those answered for at least half of the rated edits."""
    base: BaseScore
    questions: QuestionStage
    verdict: SignalVerdict
    reason: str
    pearson: Estimate
    """Cross-validated correlation with the mean rating, within tasks."""

    def predict(self, features: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and the variance (n,) that missing answers leave; NaN for an edit without any answer."""
        mean, variance = self.base.predict(features[:, list(self.used)], tasks)
        asked = question_columns(self.feature_names)
        names = [self.feature_names[column] for column in asked]
        mean, more = self.questions.predict(mean, features[:, asked], names, tasks)
        return mean, variance + more

    @property
    def kept_questions(self) -> dict[str, tuple[str, ...]]:
        """Features of the reasoning questions that are kept, by task; a task without any is not in it."""
        return {task: own.names for task, own in self.questions.tasks.items()}

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        return {
            "judge": self.judge,
            "feature_names": self.feature_names,
            "used": self.used,
            "base": self.base.to_json(),
            "questions": asdict(self.questions)["tasks"],
            "verdict": self.verdict,
            "reason": self.reason,
            "pearson": write_estimate(self.pearson),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JudgeCalibration:
        """Inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        return cls(
            judge=data["judge"],
            feature_names=tuple(data["feature_names"]),
            used=tuple(data["used"]),
            base=BaseScore.from_json(data["base"]),
            questions=QuestionStage({task: QuestionWeights(**own) for task, own in data["questions"].items()}),
            verdict=data["verdict"],
            reason=data["reason"],
            pearson=read_estimate(data["pearson"]),
        )


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The weighted mean of the judges' scores, an intercept added; a missing score is imputed from the others."""

    judges: tuple[int, ...]
    """Positions of the judges that can stand in for one another; never empty."""
    imputation: Imputation
    """Of their scores."""
    intercept: float
    weights: tuple[float, ...]
    """(len(judges),), not all 0."""

    def predict(self, scores: FloatArray, variances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Score (n,) and variance (n,) from the judges' own (n, j); NaN where none of `judges` has a score."""
        own = scores[:, list(self.judges)]
        mean, variance = self.imputation.predict(lambda values, _: self._mean(values), own, [""] * len(own))
        open_ = np.nan_to_num(variances[:, list(self.judges)], nan=0.0) @ np.array(self.weights) ** 2
        return mean, variance + open_

    def _mean(self, scores: FloatArray) -> FloatArray:
        mean = self.intercept + scores @ np.array(self.weights)
        # One judge's own score is on the scale; only an imputed one may be off it.
        return np.clip(mean, 0.0, 5.0) if self.single else soft_clip(mean)

    @property
    def single(self) -> bool:
        """Whether one judge's score is taken as it is."""
        return self.intercept == 0 and sorted(self.weights)[-1] == 1 and np.count_nonzero(self.weights) == 1

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        own = {"judges": self.judges, "filling": asdict(self.imputation)}
        return {**own, "intercept": self.intercept, "weights": self.weights}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ensemble:
        """Inverse of `to_json`."""
        return cls(data["judges"], Imputation(**data["filling"]), data["intercept"], data["weights"])


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration of one or several judges; `to_json` and `from_json` are exact inverses."""

    parts: tuple[JudgeCalibration, ...]
    """One a judge."""
    ensemble: Ensemble
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
    verdict: SignalVerdict
    reason: str
    choice: Mapping[str, Any] = field(default_factory=dict)
    """What won and by how much; see `choice.describe`."""
    columns: Columns = field(default_factory=dict)
    """Of the tables it is used on, if their rubric is not a known one."""

    def predict(self, features: FloatArray, tasks: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Predict mean (n,), 0 to 5, and standard deviation (n,) of the human score; NaN for an edit without answers.

        Args:
            features: (n, f) in the order of ``feature_names``, NaN = missing.
            tasks: (n,) task ids; a task that was not fitted takes what all tasks share.

        Raises:
            HPEditError: another number of features or of tasks.
        """
        table = check_features(features, self.feature_names, tasks)
        ends = np.cumsum([len(part.feature_names) for part in self.parts])[:-1]
        own = [part.predict(block, tasks) for part, block in zip(self.parts, np.hsplit(table, ends), strict=True)]
        scores, variances = (np.column_stack([pair[number] for pair in own]) for number in range(2))
        mean, extra = self.ensemble.predict(scores, variances)
        return mean, np.sqrt(noise_basis(mean) @ np.array(self.noise) + extra)

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
        """Weight of each judge; 0 for one without signal, and for one that is redundant beside the others."""
        weights = dict.fromkeys(self.judges, 0.0)
        return weights | dict(zip([self.judges[j] for j in self.ensemble.judges], self.ensemble.weights, strict=True))

    @property
    def main(self) -> int:
        """Position of the judge with the largest weight."""
        return int(np.argmax(list(self.weights.values())))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Feature names of all judges in a row; with several judges each begins with its judge's name."""
        return join_names([(part.judge, part.feature_names) for part in self.parts])

    @property
    def questions(self) -> dict[str, tuple[str, ...]]:
        """Features of the reasoning questions kept, by task, for every task it was fitted on."""
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
            parts=tuple(JudgeCalibration.from_json(_frozen(part)) for part in data["parts"]),
            ensemble=Ensemble.from_json(_frozen(data["blend"])),
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
        """Everything that the fingerprint covers, as JSON values (tuples become lists)."""
        plain = ("noise", "tasks", "n", "sources", "rmse", "verdict", "reason", "choice", "columns")
        content = {"format": FORMAT, **{name: getattr(self, name) for name in plain}}
        content |= {"parts": [part.to_json() for part in self.parts], "blend": self.ensemble.to_json()}
        content["pearson"] = write_estimate(self.pearson)
        return cast(dict[str, Any], json.loads(json.dumps(content, allow_nan=False)))


def join_names(groups: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """Feature names of judges in a row, each with its judge's name in front if there are several."""
    return tuple(f"{judge}/{name}" if len(groups) > 1 else name for judge, names in groups for name in names)


def question_columns(names: Sequence[str]) -> list[int]:
    """Positions of the features that are reasoning questions."""
    return [column for column, name in enumerate(names) if name.startswith(PREFIX)]


def write_estimate(estimate: Estimate) -> dict[str, float | int | None]:
    """All of an estimate as JSON values, None for what is undefined."""
    numbers = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    known = {key: None if math.isnan(value) else value for key, value in numbers.items()}
    return {**known, "n": estimate.n, "sources": estimate.sources}


def read_estimate(data: Mapping[str, Any]) -> Estimate:
    """Inverse of `write_estimate`."""
    value, low, high = (math.nan if data[key] is None else float(data[key]) for key in ("value", "low", "high"))
    return Estimate(value, low, high, int(data["n"]), int(data["sources"]))


def noise_basis(mean: FloatArray) -> FloatArray:
    """Columns (n, 3) of which the variance of a score is a non-negative combination; see `Calibration.noise`."""
    return np.column_stack([np.ones_like(mean), mean, mean * (MAX_SCORE - mean)])


def check_features(features: FloatArray, names: Sequence[str], tasks: Sequence[str]) -> FloatArray:
    """Features as (n, f) floats; HPEditError for another shape, repeated names or an infinite value."""
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


def _frozen(value: Any) -> Any:
    """JSON values with tuples in place of lists, as the fields of a fitted model are."""
    if isinstance(value, dict):
        return {key: _frozen(own) for key, own in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
