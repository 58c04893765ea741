"""HP-Scorer: judges' answers to the task's prompts, mapped to the human scale by a calibration.

scorer = HPScorer.load(folder)              # `hpedit scorer fit --cases ...` wrote it, see `fitting`
scores = scorer.score(cases, images)        # 0 to 5, or None with the reason

Fitting asks the whole library of reasoning questions and keeps those that help; scoring asks only the kept ones.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.judges.loading import load_judge
from hpedit.judges.protocol import Judge
from hpedit.records import Case, Rating, Score
from hpedit.scorer.calibration.calibration import Calibration
from hpedit.scorer.features import FEATURES, FeatureMatrix, ask_features
from hpedit.scorer.prompts import DEGREE, EDIT_ALONE, LIBRARY, SCORE, YES_OR_NO, stem
from hpedit.stats.bootstrap import FloatArray
from hpedit.store.atomic import read_json, write_json
from hpedit.tasks import TASK_IDS

CALIBRATION = "calibration.json"
SETTINGS = "scorer.json"


def prompts_fingerprint() -> str:
    """SHA-256 (first 16 hex digits) of the fixed text of all prompts and questions."""
    words = ["".join((*stem(task, "{}"), SCORE)) for task in TASK_IDS] + ["".join(EDIT_ALONE), YES_OR_NO, DEGREE]
    words += [repr(question) for task in TASK_IDS for question in LIBRARY[task]]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def mean_ratings(ratings: Sequence[Rating]) -> dict[str, float]:
    """Mean score of each edit over its raters; a rater's last rating of an edit counts."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for rating in ratings:
        found[rating.edit_id][rating.rater] = rating.score
    return {edit: float(np.mean(list(values.values()))) for edit, values in found.items()}


class HPScorer:
    """Judges with their calibration. Implements the Scorer protocol of training and benchmark."""

    def __init__(self, judges: Mapping[str, Judge], calibration: Calibration) -> None:
        """Take judges by their names in the calibration; one without weight is never asked and may be missing."""
        self.judges = dict(judges)
        self.calibration = calibration

    @classmethod
    def load(
        cls,
        folder: Path | str,
        judges: Mapping[str, Judge] | None = None,
        cache: Path | None = None,
        *,
        every: bool = False,
    ) -> HPScorer:
        """Read a scorer folder and load its judges.

        Args:
            folder: Written by `save_scorer`.
            judges: Already loaded judges, by name.
            cache: SQLite file of known answers; see `judges.answer_cache`.
            every: Also load judges without weight, which scoring does not need.

        Raises:
            HPEditError: not a scorer folder, or judge or prompts have changed since the fit.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise HPEditError(
                f"{folder} is not a scorer with a judge: it has no {SETTINGS}",
                hint="fit one on edits: hpedit scorer fit --cases ..., see docs/scorer.md",
            )
        calibration = Calibration.from_json(read_json(folder / CALIBRATION))
        prompts, fitted = _read_settings(folder / SETTINGS, calibration.judges)
        _check_same(folder, "prompts", prompts, prompts_fingerprint())
        used: dict[str, Judge] = {}
        for name, weight in calibration.weights.items():
            if weight == 0 and not every:
                continue
            revision, fingerprint = fitted[name]
            judge = (judges or {}).get(name) or load_judge(name, revision=revision, cache=cache)
            _check_same(folder, f"judge {name}", fingerprint, judge.fingerprint)
            used[name] = judge
        return cls(used, calibration)

    @property
    def judge(self) -> Judge:
        """The judge with the largest weight."""
        return self.judges[self.calibration.judges[self.calibration.main]]

    @property
    def fingerprint(self) -> str:
        """Identifies judges, decoding, prompts and calibration."""
        judges = "|".join(f"{name}={judge.fingerprint}" for name, judge in sorted(self._weighed().items()))
        text = f"{judges}|{prompts_fingerprint()}|{self.calibration.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, edited image), 0 to 5; None with the reason if no judge's answer can be read.

        `Score.raw` holds the answers of the judge with the largest weight.
        """
        ids = edit_ids or [f"{case.id}-{index}" for index, case in enumerate(cases)]
        weighed = self._weighed()
        matrices = {
            part.judge: ask_features(weighed[part.judge], cases, images, part.kept_questions)
            for part in self.calibration.parts
            if part.judge in weighed
        }
        features = side_by_side(matrices, self.calibration.judges, len(cases))
        means, stds = self.calibration.predict(features, [case.task for case in cases])
        main, name = matrices[self.calibration.judges[self.calibration.main]], self.fingerprint
        return [_score(ids[row], name, main, row, float(means[row]), float(stds[row])) for row in range(len(cases))]

    def _weighed(self) -> dict[str, Judge]:
        """The judges with a weight, by name."""
        weights = self.calibration.weights
        return {name: judge for name, judge in self.judges.items() if weights[name] > 0}


def side_by_side(matrices: Mapping[str, FeatureMatrix], judges: Sequence[str], n: int) -> FloatArray:
    """Feature matrices of the judges side by side, (n, judges * f); NaN for a judge that was not asked."""
    empty = np.full((n, len(FEATURES)), np.nan)
    return np.hstack([matrices[judge].features if judge in matrices else empty for judge in judges])


def _score(edit_id: str, scorer: str, matrix: FeatureMatrix, row: int, mean: float, std: float) -> Score:
    if np.isnan(mean):
        return Score(
            edit_id, scorer, None, reason=matrix.reasons[row] or "the calibration has no value for this answer"
        )
    answers = zip(FEATURES, matrix.features[row].tolist(), strict=True)
    return Score(edit_id, scorer, mean, std, raw={name: value for name, value in answers if not np.isnan(value)})


def _read_settings(file: Path, judges: Sequence[str]) -> tuple[str, dict[str, tuple[str | None, str]]]:
    """Fingerprint of the prompts, and (revision, fingerprint) by judge, as `save_scorer` wrote them."""
    settings = read_json(file)
    try:
        known = {name: settings["judges"][name] for name in judges}
        return settings["prompts"], {name: (one["revision"], one["fingerprint"]) for name, one in known.items()}
    except (KeyError, TypeError) as error:
        raise HPEditError(
            f"{file} is damaged, or of another fit than {CALIBRATION}", hint="fit it again: hpedit scorer fit"
        ) from error


def _check_same(folder: Path, what: str, then: str, now: str) -> None:
    if then != now:
        raise HPEditError(
            f"{folder}: {what} had the fingerprint {then} at calibration, has {now} now",
            hint="calibrate again: its scores mean nothing now",
        )


def save_scorer(folder: Path, judges: Mapping[str, Judge], calibration: Calibration, revision: str | None) -> None:
    """Write a scorer folder: calibration.json, and scorer.json with what `HPScorer.load` loads and compares."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CALIBRATION, calibration.to_json())
    known = {name: {"revision": revision, "fingerprint": judge.fingerprint} for name, judge in judges.items()}
    write_json(folder / SETTINGS, {"judges": known, "prompts": prompts_fingerprint()})
