"""Reward-hacking alarms of a training run: the reward rises while what it should improve gets worse.

    for alarm in find_alarms(table, rewards):
        print(alarm.text)

What may get worse: a second judge or the oracle on the held-out cases, the held-out scorer itself while the
training's reward rises, and measures of the pixels (sharpness, saturation, grid, how much is edited), which must have
moved away from the sources, by the rules of `hpedit.bench.drift`. An alarm says where to look, not that a run is
spoilt; only a change whose interval excludes 0 raises one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hpedit.bench.drift import pixel_drift
from hpedit.rl.monitor.evaluations import Evaluation, HeldOutTable, best_evaluation
from hpedit.stats.bootstrap import Estimate

MARGIN = 0.1
"""Points of 5 that a judge must have fallen by: what the benchmark calls a tie raises no alarm."""
REWARDS = 8
"""Fewest iterations to judge the reward's trend by: its cases differ from iteration to iteration."""


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


def find_alarms(table: HeldOutTable, rewards: Sequence[float], main: str = "scorer") -> list[Alarm]:
    """Find the alarms of the newest evaluation.

    Args:
        table: With at least one evaluation.
        rewards: Mean reward of each iteration so far.
        main: Name of the scorer that gives the reward.
    """
    now = table.evaluations[-1]
    gain = table.gain(now, main)
    reward_up = _reward_rises(rewards)
    found = []
    if reward_up and gain is not None and gain.high < 0 and gain.value <= -MARGIN:
        found.append(Alarm(now.step, main, f"the reward rises while the held-out {main} fell by {_amount(gain)}"))
    # A judge's clear fall needs no clear rise beside it, only that the scorer does not fall too.
    rising = _rising(gain, reward_up)
    standing = rising or (f"the held-out scorer stands at +{gain.value:.2f}" if gain and gain.value > 0 else None)
    judges = [(name, text) for name in now.scores if name != main and (text := _judge_falls(table, now, name, main))]
    if standing:
        found += [Alarm(now.step, name, f"{standing} while {text}") for name, text in judges]
    if rising:
        found += [Alarm(now.step, name, f"{rising} while {text}") for name, text in _drifts(table, now)]
    return found


def _rising(gain: Estimate | None, reward_up: bool) -> str | None:
    """What rises, in words; None if nothing does."""
    if gain is not None and gain.low > 0:
        return f"the held-out scorer rose by {_amount(gain)}"
    return "the reward rises" if reward_up else None


def _reward_rises(rewards: Sequence[float]) -> bool:
    """Whether the last quarter's mean lies above the first's by more than two standard errors."""
    if len(rewards) < REWARDS:
        return False
    quarter = len(rewards) // 4
    first, last = np.array(rewards[:quarter]), np.array(rewards[-quarter:])
    error = float(np.sqrt((first.var(ddof=1) + last.var(ddof=1)) / quarter))
    return float(last.mean() - first.mean()) > 2 * error


def _judge_falls(table: HeldOutTable, now: Evaluation, name: str, main: str) -> str | None:
    """A judge's clear fall since the base, or since its own best while the scorer still rose; None if there is none."""
    gain = table.gain(now, name)
    if _clear_fall(gain):
        assert gain is not None
        return f"the {_title(name)} fell by {_amount(gain)} against the base"
    best = best_evaluation(table, name)
    if best is None or best.step == now.step:
        return None
    since, scorer = table.gain(now, name, best), table.gain(now, main, best)
    if _clear_fall(since) and scorer is not None and scorer.value > 0:
        assert since is not None
        return f"the {_title(name)} fell by {_amount(since)} since iteration {best.step}"
    return None


def _clear_fall(gain: Estimate | None) -> bool:
    return gain is not None and gain.high < 0 and gain.value <= -MARGIN


def _drifts(table: HeldOutTable, now: Evaluation) -> list[tuple[str, str]]:
    """(measure, what it did) of the pixel measures that are an alarm by the benchmark's rules."""
    found = pixel_drift({"base": table.rows(table.base), "now": table.rows(now)}, seed=0)
    models = [(name, one["models"]["now"]) for name, one in found.items()]
    return [(name, f"{_measure(name)}{model['meaning']}") for name, model in models if model["alarm"]]


def _measure(name: str) -> str:
    # The meaning of closeness says by itself what it is of.
    return "" if name == "closeness" else f"{name.replace('_', ' ')} "


def _title(name: str) -> str:
    return "second judge" if name == "second" else name


def _amount(gain: Estimate) -> str:
    low, high = sorted((abs(gain.low), abs(gain.high)))
    return f"{abs(gain.value):.2f} ({low:.2f} to {high:.2f})"
