"""Which cases are held out of training, without leakage: no source photograph is ever on both sides.

Edits of one photo resemble each other, and a policy that was trained on the photo would be measured on what it has
memorized.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hpedit.cases.folder import CaseHeader, case_headers, select_cases
from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.seeds import derive_seed
from hpedit.store.lazy_rows import LazyRows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """Cases to train on and held-out cases to evaluate."""

    training: Sequence[Case]
    held_out: list[Case]
    """Empty without held-out evaluation."""
    note: str
    """What was held out, or why nothing was: a sentence for the log; empty if evaluation is off."""


def split_cases(cases: Sequence[Case], given: Sequence[Case] | None, recipe: Recipe) -> HeldOutSplit:
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
        return HeldOutSplit(cases, [], "")
    if given is None and recipe.offline:
        return HeldOutSplit([], [], "no held-out evaluation: offline training has no cases of its own to hold back")
    if given is not None:
        _refuse_shared(cases, given)
        evaluated = _choose(given, settings.count, recipe.seed)
        return HeldOutSplit(cases, evaluated, f"held-out evaluation on {_counted(evaluated)} of their own")
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
        return HeldOutSplit(cases, [], note)
    taken = [number for number, label in enumerate(labels) if label.source_id in kept_out]
    training = select_cases(cases, [number for number, label in enumerate(labels) if label.source_id not in kept_out])
    evaluated = _choose(select_cases(cases, taken), settings.count, recipe.seed)
    note = f"{len(taken)} of {_counted(labels)} held out of training, {_counted(evaluated)} evaluated"
    return HeldOutSplit(training, evaluated, note)


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
