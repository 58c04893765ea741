"""Which cases are held out of training, and what looks at them.

No source photograph is ever on both sides: edits of one photo resemble each other, and a policy that has seen the photo
is measured on what it has learnt by heart.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hpedit.bench.benchmark_run import cases_fingerprint
from hpedit.cases.folder import CaseHeader, CasesFolder, case_headers, select_cases
from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.rl.monitor.evaluations import SECOND
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.scorer.probes.gate import PROBE_FILES
from hpedit.scorer.protocol import Scorer
from hpedit.seeds import derive_seed
from hpedit.store.lazy_rows import LazyRows
from hpedit.store.run_folder import hash_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Split:
    """Cases to train on and cases to look at."""

    training: Sequence[Case]
    held_out: list[Case]
    """Empty where nothing is looked at."""
    note: str
    """What was held out, or why nothing was, in a sentence for the log; empty where it was not asked for."""


def split_cases(cases: Sequence[Case], given: Sequence[Case] | None, recipe: Recipe) -> Split:
    """Decide what is held out; a function of the cases and the recipe's seed alone.

    Args:
        cases: All that may be trained on.
        given: Held-out cases, where the user has some.
        recipe: Its section `evaluate`, and `rollout.groups`: so many cases must be left.

    Raises:
        HPEditError: A given case is on a source photograph that is trained on.
    """
    settings = recipe.evaluate
    if not settings.every:
        return Split(cases, [], "")
    if given is None and recipe.offline:
        return Split([], [], "no held-out evaluation: offline training has no cases of its own to hold back")
    if given is not None:
        _refuse_shared(cases, given)
        looked_at = _choose(given, settings.count, recipe.seed)
        return Split(cases, looked_at, f"held-out evaluation on {_counted(looked_at)} of their own")
    labels = case_headers(cases)
    sources = sorted({label.source_id for label in labels}, key=lambda name: derive_seed(recipe.seed, "held out", name))
    sizes = Counter(label.source_id for label in labels)
    smallest = min(sizes.values(), default=0)
    allowed = min(max(settings.share * len(cases), smallest), len(cases) - recipe.rollout.groups)
    kept_out: set[str] = set()
    for name in sources[:-1]:
        if sizes[name] + sum(sizes[other] for other in kept_out) <= allowed:
            kept_out.add(name)
    if not kept_out:
        note = f"no held-out evaluation: {_counted(labels)} are too few to hold some back"
        logger.warning("%s", note)
        return Split(cases, [], note)
    taken = [number for number, label in enumerate(labels) if label.source_id in kept_out]
    training = select_cases(cases, [number for number, label in enumerate(labels) if label.source_id not in kept_out])
    looked_at = _choose(select_cases(cases, taken), settings.count, recipe.seed)
    note = f"{len(taken)} of {_counted(labels)} held out of training, {_counted(looked_at)} looked at"
    return Split(training, looked_at, note)


@dataclass(frozen=True, slots=True)
class Watching:
    """What was passed in for held-out evaluation; what was not is loaded as the recipe names it."""

    held_out: Sequence[Case] | None = None
    second_judge: Scorer | None = None

    def cases(self, recipe: Recipe) -> list[Case] | None:
        """The user's own held-out cases; None where there are none."""
        path = recipe.evaluate.cases
        if self.held_out is not None or not path or not recipe.evaluate.every:
            return None if self.held_out is None else list(self.held_out)
        return list(CasesFolder(path).kept())

    def scorers(self, recipe: Recipe, rewards: Rewards) -> dict[str, Scorer]:
        """All that scores held-out edits: the rewards by name, then the second judge.

        Raises:
            HPEditError: the second judge has no signal (unless scorer_force), or is a reward itself.
        """
        path = recipe.evaluate.second_judge
        second = self.second_judge or (_load_second(path, force=recipe.scorer_force) if path else None)
        if second is None:
            return dict(rewards.scorers)
        for name, scorer in rewards.scorers.items():
            _check_other(second, name, scorer)
        return {**rewards.scorers, SECOND: second}


def held_out_inputs(
    recipe: Recipe, cases: Sequence[Case] | None, scorer: Scorer | None, second: Scorer | None
) -> dict[str, str]:
    """What evaluation reads, by content, for the run's folder; {} where it is off."""
    settings = recipe.evaluate
    if not settings.every:
        return {}
    inputs = {}
    if recipe.offline and (cases is not None or settings.cases):
        inputs[MAIN] = scorer.fingerprint if scorer else hash_path(recipe.scorer, PROBE_FILES)
    if cases is not None:
        inputs["held-out cases"] = cases_fingerprint(cases)
    elif settings.cases:
        inputs["held-out cases"] = CasesFolder(settings.cases).fingerprint()
    if second is not None:
        inputs["second judge"] = second.fingerprint
    elif settings.second_judge:
        inputs["second judge"] = hash_path(settings.second_judge, PROBE_FILES)
    return inputs


def _load_second(path: str, *, force: bool) -> HPScorer:
    second = HPScorer.load(path)
    if second.calibration.verdict != "ok" and not force:
        raise HPEditError(
            f"the second judge {path} has no signal: {second.calibration.reason}",
            hint="take another one, or set scorer_force: true",
        )
    return second


def _check_other(second: Scorer, name: str, reward: Scorer) -> None:
    """HPEditError if the second judge is the reward; a warning if it asks the same judge."""
    if second.fingerprint == reward.fingerprint:
        raise HPEditError(f"the second judge is the reward {name} itself", hint="it must be another scorer")
    if isinstance(second, HPScorer) and isinstance(reward, HPScorer):
        asked = [{judge.fingerprint for judge in one.judges.values()} for one in (second, reward)]
        if asked[0] & asked[1]:
            logger.warning("the second judge asks a judge that the reward %s asks too: no independent look", name)


def _refuse_shared(cases: Sequence[Case], given: Sequence[Case]) -> None:
    """By the photograph's name; where the training cases are in memory, by their pictures too."""
    trained = {label.source_id for label in case_headers(cases)}
    if not isinstance(cases, LazyRows):
        trained |= {case.group_key for case in cases}
    shared = [case for case in given if case.source_id in trained or case.group_key in trained]
    if shared:
        raise HPEditError(
            f"{len(shared)} of {len(given)} held-out cases are on photographs that are trained on, such as "
            f"{shared[0].source_id} of case {shared[0].id}",
            hint="take them out of evaluate.cases, or leave it out to hold back a share of the training cases",
        )


def _choose(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """At most `count` cases, the tasks in turn, in an order that nobody chose."""
    labels = case_headers(cases)
    ordered = sorted(range(len(labels)), key=lambda number: derive_seed(seed, "held out case", labels[number].id))
    turn: Counter[str] = Counter()
    placed: list[tuple[int, int, int]] = []
    for number in ordered:
        placed.append((turn[labels[number].task], len(placed), number))
        turn[labels[number].task] += 1
    return [cases[number] for _, _, number in sorted(placed)[:count]]


def _counted(cases: Sequence[Case] | Sequence[CaseHeader]) -> str:
    sources = len({case.source_id for case in cases})
    return f"{len(cases)} case{'s' * (len(cases) != 1)} on {sources} photograph{'s' * (sources != 1)}"
