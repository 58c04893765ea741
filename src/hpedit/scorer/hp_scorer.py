"""HP-Scorer: a judge's answers to the task's scoring prompt, mapped to the human scale by a calibration.

scorer = fit_scorer(judge, cases, edits, ratings, out)      # writes calibration.json and scorer.json
scorer = HPScorer.load(out)
scores = scorer.score(cases, images)                        # 0 to 5, or None with the reason
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, Rating, Score
from hpedit.scorer.calibration import Calibration, fit_calibration
from hpedit.scorer.backends.protocol import Answer, Judge
from hpedit.scorer.backends.transformers_judge import TransformersJudge
from hpedit.scorer.prompts import SCORE, score_question, stem
from hpedit.scorer.statistics import FloatArray
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.tables import read_cases, read_edits, read_ratings
from hpedit.tasks import TASK_IDS

FEATURES = ("expected", "spread")
"""What the calibration sees of an answer: the expectation of the digits and their standard deviation."""
CALIBRATION = "calibration.json"
SETTINGS = "scorer.json"


def ask_scores(judge: Judge, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[Answer]:
    """The judge's answer to the scoring prompt of each (case, edited image)."""
    return judge.ask([score_question(case, image) for case, image in zip(cases, images, strict=True)])


def features_of(answers: Sequence[Answer]) -> FloatArray:
    """Answers as the calibration's features, (n, 2): NaN where an answer can't be read."""
    rows = [[np.nan if value is None else value for value in (a.expected, a.spread)] for a in answers]
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def prompts_fingerprint() -> str:
    """SHA-256 (first 16 hex digits) of all prompts' fixed words."""
    words = "\n".join("".join(stem(task, "{}")) + SCORE for task in TASK_IDS)
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def mean_ratings(ratings: Sequence[Rating]) -> dict[str, float]:
    """Mean score of each edit over its raters."""
    found: dict[str, list[float]] = defaultdict(list)
    for rating in ratings:
        found[rating.edit_id].append(rating.score)
    return {edit: float(np.mean(values)) for edit, values in found.items()}


class HPScorer:
    """A judge with its calibration. Implements the Scorer protocol of training and benchmark."""

    def __init__(self, judge: Judge, calibration: Calibration) -> None:
        self.judge = judge
        self.calibration = calibration

    @classmethod
    def load(cls, folder: Path | str, judge: Judge | None = None) -> HPScorer:
        """Read a scorer folder and load its judge.

        Raises:
            HPEditError: not a scorer folder, or judge or prompts are no longer those it was fitted with.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise HPEditError(
                f"{folder} is not a scorer with a judge: it has no {SETTINGS}", hint="fit one, or see docs/scorer.md"
            )
        settings = read_json(folder / SETTINGS)
        calibration = Calibration.from_json(read_json(folder / CALIBRATION))
        judge = judge or TransformersJudge.load(settings["judge"], settings["revision"])
        for what, now in (("judge_fingerprint", judge.fingerprint), ("prompts", prompts_fingerprint())):
            if settings[what] != now:
                raise HPEditError(
                    f"{folder}: {what} was {settings[what]} at calibration, is {now}",
                    hint="calibrate again: its scores mean nothing now",
                )
        return cls(judge, calibration)

    @property
    def fingerprint(self) -> str:
        """Judge, decoding, prompts and calibration."""
        text = f"{self.judge.fingerprint}|{prompts_fingerprint()}|{self.calibration.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        """One score for each (case, edited image), 0 to 5; None with the reason where the answer can't be read."""
        ids = edit_ids or [f"{case.id}-{index}" for index, case in enumerate(cases)]
        answers = ask_scores(self.judge, cases, images)
        means, stds = self.calibration.predict(features_of(answers), [case.task for case in cases])
        return [
            _score(edit_id, self.fingerprint, answer, float(mean), float(std))
            for edit_id, answer, mean, std in zip(ids, answers, means, stds, strict=True)
        ]


def _score(edit_id: str, scorer: str, answer: Answer, mean: float, std: float) -> Score:
    if answer.expected is None or np.isnan(mean):
        return Score(edit_id, scorer, None, reason=answer.reason or "the calibration has no value for this answer")
    return Score(edit_id, scorer, mean, std, raw={"expected": answer.expected, "spread": answer.spread or 0.0})


def fit_scorer(
    judge: Judge,
    cases: Mapping[str, Case],
    edits: Sequence[Edit],
    ratings: Sequence[Rating],
    out: Path,
    *,
    model: str = "mini",
    revision: str | None = None,
) -> HPScorer:
    """Calibrate a judge on rated edits and write the scorer folder.

    Args:
        cases: By case id.
        edits: Rated edits; those without ratings are left out.
        ratings: Scores of people (or of the mini world's simulated raters).
        out: Folder for calibration.json and scorer.json.
        model, revision: What `load` has to load again.

    Raises:
        HPEditError: too few rated edits, or nothing to learn from them.
    """
    target = mean_ratings(ratings)
    rated = [edit for edit in edits if edit.id in target]
    chosen = [cases[edit.case_id] for edit in rated]
    answers = ask_scores(judge, chosen, [edit.image for edit in rated])
    calibration = fit_calibration(
        features_of(answers),
        FEATURES,
        [case.task for case in chosen],
        np.array([target[edit.id] for edit in rated]),
        [case.source_id for case in chosen],
        judge=model,
    )
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / CALIBRATION, dump_json(calibration.to_json()))
    settings = {
        "judge": model,
        "revision": revision,
        "judge_fingerprint": judge.fingerprint,
        "prompts": prompts_fingerprint(),
    }
    atomic_write(out / SETTINGS, dump_json(settings))
    return HPScorer(judge, calibration)


def calibrate_files(
    cases: Path, edits: Path, ratings: Path, out: Path, *, judge: str = "mini", revision: str | None = None
) -> dict[str, str | float | int | None]:
    """`hpedit scorer calibrate`: fit a judge on rated edits on disk; returns verdict and cross-validated figures.

    Args:
        cases: Parquet of cases (candidates.parquet of `hpedit cases build`).
        edits: Parquet of edits of these cases.
        ratings: CSV or JSONL of edit_id, rater, score.
        out: Folder of the scorer.
        judge: "mini", a folder, or the hub id of a Qwen2.5-VL.
        revision: Of a hub model; pin it.

    Raises:
        HPEditError: the files have nothing in common, or the ratings cannot be learnt from.
    """
    by_id = {case.id: case for case in read_cases(cases)}
    known = [edit for edit in read_edits(edits) if edit.case_id in by_id]
    scores = read_ratings(ratings)
    if not {edit.id for edit in known} & {rating.edit_id for rating in scores}:
        raise HPEditError(
            f"{ratings} rates no edit of {edits} whose case is in {cases}",
            hint="edit_id must be the id column of the edits, case_id the id of the cases",
        )
    backend = TransformersJudge.load(judge, revision, device="auto")
    fitted = fit_scorer(backend, by_id, known, scores, out, model=judge, revision=revision).calibration
    pearson = None if np.isnan(fitted.pearson.value) else fitted.pearson.value
    return {"verdict": fitted.verdict, "reason": fitted.reason, "n": fitted.n, "pearson": pearson}
