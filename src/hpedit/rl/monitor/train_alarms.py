"""Reward-hacking alarms of a training run: the reward rises while what it should improve gets worse, or no better.

    for alarm in find_alarms(table, rewards, planned=18):
        print(alarm.text)

A second judge or the oracle may fall on the held-out cases, or not follow the scorer upward; the held-out scorer itself
may fall while the training's reward rises; and measures of the pixels (sharpness, saturation, grid, displacement, how
much is edited) may move away from the sources, by the rules of `hpedit.bench.drift`. An alarm says where to look, not
that a run is spoilt.

A run is looked at many times by several judges, so each test's p is multiplied by the number of tests (Bonferroni):
at most one run in twenty in which nothing changes raises an alarm by any judge, and at most one in twenty in which only
the scores rise raises one by the pixels. Of the judges' 5 %, falls against the base have a half, falls since a judge's
own best and judges that do not follow a quarter each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

import numpy as np
from scipy.special import stdtrit

from hpedit.bench.drift import READINGS, pixel_drift
from hpedit.rl.monitor.evaluations import SECOND, Evaluation, HeldOutTable, best_evaluation
from hpedit.stats.bootstrap import Estimate
from hpedit.stats.cluster_mean import is_clear
from hpedit.stats.intervals import GAIN, number_text

MARGIN = 0.1
"""Points of 5 that a judge must have fallen by, or behind: what the benchmark calls a tie raises no alarm."""
REWARDS = 8
"""Fewest iterations to judge the reward's trend by: its cases differ from iteration to iteration."""
HALF, QUARTER = 2, 4
"""Factors of p for tests that have a half or a quarter of the 5 %."""
FOLLOWERS = (SECOND, "oracle")
"""Judges on the scorer's scale that should rise with it; a further reward may measure something else."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One judge or measure that got worse at one evaluation."""

    step: int
    """Iterations done."""
    kind: str
    """Name of the judge or measure."""
    text: str
    """A sentence."""

    def as_dict(self) -> dict[str, Any]:
        """As alarms.jsonl has it."""
        return asdict(self)


def find_alarms(
    table: HeldOutTable, rewards: Sequence[float], main: str = "scorer", planned: int | None = None
) -> list[Alarm]:
    """Find the alarms of the newest evaluation.

    Args:
        table: With at least one evaluation.
        rewards: Mean reward of each iteration so far.
        main: Name of the scorer that gives the reward.
        planned: Evaluations of the whole run, for which each one's tests are corrected; None for those so far.
    """
    now = table.evaluations[-1]
    looks = max(planned or 0, len(table.evaluations))
    tests = looks * len(now.scores)
    gain = table.gain(now, main)
    reward_up = _reward_rises(rewards)
    found = []
    if reward_up and _falls(gain, HALF * tests):
        found.append(Alarm(now.step, main, f"the reward rises while the held-out {main} fell by {_amount(gain)}"))
    # A judge's clear fall needs no clear rise beside it, only that the scorer does not fall too.
    rising = _rising(gain, reward_up)
    standing = rising or (f"the held-out scorer stands at +{gain.value:.2f}" if gain and gain.value > 0 else None)
    for name in now.scores:
        if name == main or not standing:
            continue
        if fall := _judge_falls(table, now, name, main, tests, looks):
            found.append(Alarm(now.step, name, f"{standing} while {fall}"))
        elif name in FOLLOWERS and (lag := _does_not_follow(table, now, name, main, tests)):
            found.append(Alarm(now.step, name, lag))
    if rising:
        found += [Alarm(now.step, name, f"{rising} while {text}") for name, text in _drifts(table, now, looks)]
    return found


def _rising(gain: Estimate | None, reward_up: bool) -> str | None:
    """What rises, in words; None if nothing does."""
    if gain is not None and gain.low > 0:
        return f"the held-out scorer rose by {_amount(gain)}"
    return "the reward rises" if reward_up else None


def _reward_rises(rewards: Sequence[float]) -> bool:
    """Whether the last quarter's mean lies above the first's, by a two-sample t test at 5 %."""
    if len(rewards) < REWARDS:
        return False
    quarter = len(rewards) // 4
    first, last = np.array(rewards[:quarter]), np.array(rewards[-quarter:])
    error = float(np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / quarter))
    return float(last.mean() - first.mean()) > float(stdtrit(2 * quarter - 2, 0.975)) * error


def _judge_falls(table: HeldOutTable, now: Evaluation, name: str, main: str, tests: int, looks: int) -> str | None:
    """A judge's clear fall since the base, or since its own best while the scorer still rose; None if there is none."""
    gain = table.gain(now, name)
    if _falls(gain, HALF * tests):
        return f"the {_title(name)} fell by {_amount(gain)} against the base"
    best = best_evaluation(table, name)
    if best is None or best.step == now.step:
        return None
    since, scorer = table.gain(now, name, best), table.gain(now, main, best)
    # The best of all evaluations is partly the luckiest, so each of them counts as a test.
    if _falls(since, QUARTER * tests * looks) and scorer is not None and scorer.value > 0:
        return f"the {_title(name)} fell by {_amount(since)} since iteration {best.step}"
    return None


def _does_not_follow(table: HeldOutTable, now: Evaluation, name: str, main: str, tests: int) -> str | None:
    """A clear rise of the scorer, clearly above that of a judge which sees none; None if it is not so."""
    scorer, judge, lead = table.gain(now, main), table.gain(now, name), table.lead(now, main, name)
    if judge is None or judge.low > 0 or not (_rises(scorer, QUARTER * tests) and _rises(lead, QUARTER * tests)):
        return None
    change, low, high = (number_text(one, GAIN) for one in (judge.value, judge.low, judge.high))
    return (
        f"the held-out {main} rose by {_amount(scorer)} while the {_title(name)} did not follow: "
        f"{change} ({low} to {high})"
    )


def _falls(gain: Estimate | None, tests: int) -> TypeGuard[Estimate]:
    """Whether a change is a fall of more than the margin, beyond chance in so many tests."""
    # Only falls are looked for, so p is halved.
    return gain is not None and gain.value <= -MARGIN and is_clear(gain, tests * gain.p / 2)


def _rises(gain: Estimate | None, tests: int) -> TypeGuard[Estimate]:
    """The same of a rise."""
    return gain is not None and gain.value >= MARGIN and is_clear(gain, tests * gain.p / 2)


def _drifts(table: HeldOutTable, now: Evaluation, looks: int) -> list[tuple[str, str]]:
    """(measure, what it did) of the pixel measures that are an alarm by the benchmark's rules."""
    found = pixel_drift({"base": table.rows(table.base), "now": table.rows(now)}, looks)
    models = [(name, one["models"]["now"]) for name, one in found.items()]
    return [(name, f"{_measure(name)}{model['meaning']}") for name, model in models if model["alarm"]]


def _measure(name: str) -> str:
    """What a measure's change is of, where its words do not say so themselves."""
    return "" if name in READINGS else f"{name.replace('_', ' ')} "


def _title(name: str) -> str:
    """A judge as sentences call it."""
    return "second judge" if name == "second" else name


def _amount(gain: Estimate) -> str:
    """The size of a change with its 95 % interval, without its sign."""
    low, high = sorted((abs(gain.low), abs(gain.high)))
    return f"{abs(gain.value):.2f} ({low:.2f} to {high:.2f})"
