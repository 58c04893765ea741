"""Read and check a recipe's inputs: cases, preference pairs, scorers, output folder. No torch, no model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from hpedit.config.recipe import FREE_KEYS, Recipe
from hpedit.errors import HPEditError
from hpedit.plan.disk import nearest_folder
from hpedit.plan.findings import Findings
from hpedit.plan.judge_memory import ScorerUse, read_scorer_judges
from hpedit.scorer.custom_reward import is_custom
from hpedit.scorer.probes.gate import PROBE, read_probe
from hpedit.store.run_folder import check_folder

MOST_READ: Final = 4096
"""Cases read at most to count distinct ones: more than any recipe needs."""


@dataclass(frozen=True, slots=True)
class RecipeInputs:
    """Counts of a recipe's cases or pairs, and its scorers."""

    cases: int | None
    """Number of cases or pairs; None = unknown."""
    sources: int
    """Most source images of any case read."""
    scorers: tuple[ScorerUse, ...]


def read_recipe_inputs(recipe: Recipe, findings: Findings) -> RecipeInputs:
    """Read the recipe's inputs, and add an error for each that is missing, too small or damaged."""
    count, sources = None, 1
    with findings.collecting():
        count, sources = _count_pairs(recipe, findings) if recipe.offline else _count_cases(recipe, findings)
    specs = () if recipe.offline else (recipe.scorer, *(reward.scorer for reward in recipe.rewards))
    return RecipeInputs(count, sources, read_scorers(specs, recipe, findings))


def read_scorers(specs: Iterable[str], recipe: Recipe, findings: Findings) -> tuple[ScorerUse, ...]:
    """The judges of fitted scorers; an error for each that is missing, has no signal or failed its probe."""
    scorers = []
    for path in (spec for spec in specs if not is_custom(spec)):
        with findings.collecting():
            scorers.append(_check_scorer(path, recipe, findings))
    return tuple(scorers)


def check_output_folder(recipe: Recipe, findings: Findings) -> None:
    """Add an error unless the output folder can be created, or resumed with this recipe."""
    with findings.collecting():
        check_folder(recipe.output, "train", recipe.shaping(), FREE_KEYS)
    above = nearest_folder(Path(recipe.output))
    if above is not None and not os.access(above, os.W_OK):
        findings.error(f"{above} is not writable, so the output folder can't be created", hint="set output")


def _count_cases(recipe: Recipe, findings: Findings) -> tuple[int | None, int]:
    """(number of cases, most sources) of a folder or table of cases."""
    if not Path(recipe.cases).exists():
        raise HPEditError(f"the cases {recipe.cases} do not exist", "run hpedit cases build RECIPE, or set cases")
    from hpedit.cases.folder import CasesFolder

    keys: set[str] = set()
    read = sources = 0
    for case in islice(CasesFolder(recipe.cases).kept(), MOST_READ):
        keys.add(case.group_key)
        sources, read = max(sources, len(case.sources)), read + 1
        if len(keys) >= recipe.rollout.groups and read >= MOST_READ // 16:
            break
    _check_enough(len(keys), "different training cases", recipe, findings)
    return _table_rows(recipe.cases) or read, max(1, sources)


def _count_pairs(recipe: Recipe, findings: Findings) -> tuple[int | None, int]:
    """(number of pairs, most sources) of a table of pairs."""
    assert recipe.dpo.pairs is not None
    if not Path(recipe.dpo.pairs).is_file():
        raise HPEditError(f"the pairs {recipe.dpo.pairs} do not exist", "run hpedit ratings pairs, or set dpo.pairs")
    from hpedit.cases.pairs.pair_table import read_pairs

    found = list(islice(read_pairs(Path(recipe.dpo.pairs)), max(recipe.rollout.groups, MOST_READ // 16)))
    _check_enough(len(found), "pairs", recipe, findings)
    return _table_rows(recipe.dpo.pairs) or len(found), max((len(pair.case.sources) for pair in found), default=1)


def _check_enough(count: int, what: str, recipe: Recipe, findings: Findings) -> None:
    if count < recipe.rollout.groups:
        hint = f"set rollout.groups to at most {count}, or build more"
        findings.error(f"{count} {what} are too few for {recipe.rollout.groups} groups", hint)


def _table_rows(path: str) -> int | None:
    """Rows of the tables of cases, from their footers; None for a build, whose filter keeps fewer."""
    import pyarrow.parquet as pq

    from hpedit.cases.folder import CasesFolder

    if Path(path).is_file():
        return int(pq.read_metadata(path).num_rows)
    folder = CasesFolder(path)
    return None if folder.built else sum(int(pq.read_metadata(file).num_rows) for file in folder.case_files())


def _check_scorer(path: str, recipe: Recipe, findings: Findings) -> ScorerUse:
    """The scorer's judges; adds an error if the scorer has no signal or failed its probe."""
    found = read_scorer_judges(path)
    if found.verdict != "ok" and not recipe.scorer_force:
        hint = "rate more edits or use another judge, or set scorer_force: true"
        findings.error(f"the scorer {path} has no signal and is refused as a reward: {found.reason}", hint)
    probe = read_probe(path)
    if probe is None:
        findings.warning(f"the scorer {path} has not been probed", hint=f"hpedit scorer probe --scorer {path} ...")
    elif not probe["passed"]:
        say = findings.warning if recipe.scorer_force else findings.error
        hint = f"see {PROBE}; use another judge or more ratings, or set scorer_force: true"
        say(f"the scorer {path} failed its probe: {'; '.join(probe['reasons'])}", hint)
    return found
