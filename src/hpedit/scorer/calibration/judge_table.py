"""One judge's answers about rated edits: fit its calibration, and judge its signal by cross-validated correlation."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpedit.errors import HPEditError
from hpedit.scorer.calibration.base_selection import SelectedBase, select_base
from hpedit.scorer.calibration.calibration import BaseScore, JudgeCalibration, SignalVerdict, question_columns
from hpedit.scorer.calibration.fitted_models import QuestionStage
from hpedit.scorer.calibration.question_stage import fit_questions
from hpedit.scorer.calibration.sample import RatedSample
from hpedit.stats.bootstrap import Estimate, FloatArray, IntArray, bootstrap_by_source, source_index, weighted_pearson

MIN_SIGNAL = 0.1
"""Least lower bound of the cross-validated correlation within tasks. Below it a scorer explains under 1 % of what
people see, and as a reward it would be noise."""

_UNDIRECTED = re.compile(r"spread|entropy|p\d")
"""Features without a good direction: dispersion, and the probabilities of single answers."""


@dataclass(frozen=True, slots=True)
class JudgeAnswers:
    """What one judge answered about n edits."""

    judge: str
    names: tuple[str, ...]
    values: FloatArray
    """(n, f), NaN = missing. The first feature is its own overall score; those named "q:..." are questions' answers."""
    derived: tuple[str, ...] = ()
    """Features that are functions of others."""


@dataclass(frozen=True, slots=True)
class JudgeTable:
    """One judge's answers about rated edits, ready to fit."""

    answers: JudgeAnswers
    data: RatedSample
    used: tuple[int, ...]
    candidates: Mapping[str, Sequence[str]] | None
    exclusive: Sequence[Collection[str]]
    known: IntArray = field(init=False)
    """Edits with at least one answer that enters."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", np.flatnonzero(~np.isnan(self.data.answers).all(axis=1)))

    def fit(self, rows: IntArray, *, singles: bool = False) -> tuple[JudgeCalibration, FloatArray, SelectedBase]:
        """Choose and fit on those of ``rows`` that the judge answered.

        Returns:
            The part; for each of ``rows`` the score by a model fitted without its photo, NaN where the judge did not
            answer; and the selection behind it.
        """
        own = np.intersect1d(rows, self.known)
        chosen = select_base(self.data, own, singles=singles)
        asked = question_columns(self.answers.names)
        tasks, sources = ([column[row] for row in own.tolist()] for column in (self.data.tasks, self.data.sources))
        stage, scores = fit_questions(
            chosen.held_out,
            self.answers.values[own][:, asked],
            [self.answers.names[column] for column in asked],
            tasks,
            self.data.target[own],
            sources,
            candidates=self.candidates,
            exclusive=self.exclusive,
        )
        held_out = np.full(len(self.data.target), np.nan)
        held_out[own] = scores
        part = self.part(chosen.base, stage, held_out[rows], rows)
        return part, held_out[rows], chosen

    def part(self, base: BaseScore, stage: QuestionStage, held_out: FloatArray, rows: IntArray) -> JudgeCalibration:
        """Make a part whose signal is judged by scores (rows,) of photos it was not fitted on."""
        pearson = self.signal(held_out, rows)
        verdict, reason = self._verdict(pearson)
        answers = self.answers
        return JudgeCalibration(answers.judge, answers.names, self.used, base, stage, verdict, reason, pearson)

    def signal(self, scores: FloatArray, rows: IntArray) -> Estimate:
        """Correlation of scores (rows,) with ratings after each task's average is taken from both."""
        return within_tasks(
            scores,
            self.data.target[rows],
            [self.data.tasks[row] for row in rows.tolist()],
            [self.data.sources[row] for row in rows.tolist()],
        )

    def _verdict(self, pearson: Estimate) -> tuple[SignalVerdict, str]:
        own = self.data.answers[self.known]
        if (np.nanmax(own, axis=0) == np.nanmin(own, axis=0)).all() and not question_columns(self.answers.names):
            return "no signal", "the judge gives every edit the same answers"
        return judge_signal(pearson)


def make_judge_table(
    answers: JudgeAnswers,
    tasks: list[str],
    target: FloatArray,
    sources: list[str],
    candidates: Mapping[str, Sequence[str]] | None,
    exclusive: Sequence[Collection[str]],
) -> JudgeTable:
    """Pick the features that enter.

    Raises:
        HPEditError: no feature is answered for half of the edits.
    """
    asked = question_columns(answers.names)
    known = ~np.isnan(answers.values)
    half = 2 * known.sum(axis=0) >= max(1, len(target))
    used = [column for column in range(len(answers.names)) if half[column] and column not in asked]
    if len(target) and not used:
        plain = [column for column in range(len(answers.names)) if column not in asked]
        raise HPEditError(
            f"judge {answers.judge or '(unnamed)'} has readable answers for "
            f"{int(known[:, plain].any(axis=1).sum())} of {len(target)} rated edits: too few to calibrate",
            hint="look at its raw answers: refusals, timeouts and words instead of numbers count as unreadable",
        )
    data = RatedSample(
        answers.values[:, used],
        tuple(_UNDIRECTED.fullmatch(answers.names[column]) is None for column in used),
        tuple(answers.names[column] in answers.derived for column in used),
        tasks,
        target,
        sources,
    )
    return JudgeTable(answers, data, tuple(used), candidates, exclusive)


def within_tasks(scores: FloatArray, target: FloatArray, tasks: Sequence[str], sources: Sequence[str]) -> Estimate:
    """Correlation (n,) with (n,) after each task's average is taken from both; NaN scores are left out."""
    known = np.flatnonzero(~np.isnan(scores))
    table = np.column_stack([scores, target])[known]
    _, task = source_index([tasks[row] for row in known.tolist()])
    for number in range(int(task.max()) + 1 if len(task) else 0):
        own = task == number
        # A judge that does not vary must stay exactly constant, which x - mean(x) need not be.
        table[own] -= np.where(np.ptp(table[own], axis=0) > 1e-9, table[own].mean(axis=0), table[own])
    return bootstrap_by_source(table, [sources[row] for row in known.tolist()], weighted_pearson)


def judge_signal(pearson: Estimate) -> tuple[SignalVerdict, str]:
    """Verdict, and the sentence that explains it."""
    if math.isnan(pearson.value):
        return "no signal", "the judge's answers say nothing of the ratings of photos it was not fitted on"
    facts = f"correlation with people on photos not fitted on is {pearson.value:.2f}"
    if not math.isnan(pearson.low):
        facts += f", 95 % interval {pearson.low:.2f} to {pearson.high:.2f}"
    facts += f" ({pearson.n} edits of {pearson.sources} photos)"
    if pearson.low > MIN_SIGNAL:
        return "ok", facts
    return "no signal", f"{facts}; its lower end must be above {MIN_SIGNAL}"
