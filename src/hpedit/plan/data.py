"""Whether cases, pairs, scorer and output folder of a recipe are what they have to be. No torch, no model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.plan.disk import existing
from hpedit.plan.judges import ScorerUse, read_scorer
from hpedit.plan.problems import Problems
from hpedit.scorer.probes.gate import PROBE, read_probe
from hpedit.store.run_folder import check_folder

LOOKED_AT: Final = 4096
"""Cases that are read at most to count different ones: beyond it there are enough for any recipe."""


@dataclass(frozen=True, slots=True)
class Data:
    """What is known of a recipe's inputs."""

    cases: int | None
    """Cases or pairs; None = not known."""
    sources: int
    """Most source pictures of the cases that were read."""
    scorers: tuple[ScorerUse, ...]


def read_data(recipe: Recipe, problems: Problems) -> Data:
    """Read what the recipe names, and note what is wrong with it."""
    count, sources = None, 1
    with problems.collecting():
        count, sources = _pairs(recipe, problems) if recipe.offline else _cases(recipe, problems)
    scorers = []
    if not recipe.offline:
        for path in (recipe.scorer, *(reward.scorer for reward in recipe.rewards)):
            with problems.collecting():
                scorers.append(_scorer(path, recipe, problems))
    return Data(count, sources, tuple(scorers))


def check_output(recipe: Recipe, problems: Problems) -> None:
    """Whether the run's folder can be made, or continued by this recipe."""
    with problems.collecting():
        check_folder(recipe.output, "train", recipe.shaping())
    above = existing(Path(recipe.output))
    if above is not None and not os.access(above, os.W_OK):
        problems.error(f"{above} is not writable, and the run's folder would be there", hint="set output")


def _cases(recipe: Recipe, problems: Problems) -> tuple[int | None, int]:
    """(cases, most sources) of a folder or table of cases."""
    if not Path(recipe.cases).exists():
        raise HPEditError(
            f"the cases {recipe.cases} do not exist", hint="build them: hpedit cases build RECIPE, or set cases"
        )
    from hpedit.cases.folder import CasesFolder

    keys: set[str] = set()
    read = sources = 0
    for case in islice(CasesFolder(recipe.cases).kept(), LOOKED_AT):
        keys.add(case.group_key)
        sources, read = max(sources, len(case.sources)), read + 1
        if len(keys) >= recipe.rollout.groups and read >= LOOKED_AT // 16:
            break
    _enough(len(keys), "different training cases", recipe, problems)
    return _rows(recipe.cases) or read, max(1, sources)


def _pairs(recipe: Recipe, problems: Problems) -> tuple[int | None, int]:
    """(pairs, most sources) of a table of pairs."""
    assert recipe.dpo.pairs is not None
    if not Path(recipe.dpo.pairs).is_file():
        raise HPEditError(
            f"the pairs {recipe.dpo.pairs} do not exist", hint="make them: hpedit ratings pairs, or set dpo.pairs"
        )
    from hpedit.cases.pairs.pair_table import read_pairs

    found = list(islice(read_pairs(Path(recipe.dpo.pairs)), max(recipe.rollout.groups, LOOKED_AT // 16)))
    _enough(len(found), "pairs", recipe, problems)
    return _rows(recipe.dpo.pairs) or len(found), max((len(pair.case.sources) for pair in found), default=1)


def _enough(count: int, what: str, recipe: Recipe, problems: Problems) -> None:
    if count < recipe.rollout.groups:
        problems.error(
            f"{count} {what} are too few for {recipe.rollout.groups} groups",
            hint=f"set rollout.groups to at most {count}, or build more",
        )


def _rows(path: str) -> int | None:
    """Rows of the tables of cases, by their footers; None for a build, whose filter keeps fewer."""
    import pyarrow.parquet as pq

    from hpedit.cases.folder import CasesFolder

    if Path(path).is_file():
        return int(pq.read_metadata(path).num_rows)
    folder = CasesFolder(path)
    return None if folder.built else sum(int(pq.read_metadata(file).num_rows) for file in folder.case_files())


def _scorer(path: str, recipe: Recipe, problems: Problems) -> ScorerUse:
    """A scorer, unless it can't be a reward."""
    found = read_scorer(path)
    if found.verdict != "ok" and not recipe.scorer_force:
        problems.error(
            f"the scorer {path} has no signal and is refused as a reward: {found.reason}",
            hint="rate more edits or take another judge, or set scorer_force: true",
        )
    probe = read_probe(path)
    if probe is None:
        problems.warning(f"the scorer {path} has not been probed", hint=f"hpedit scorer probe --scorer {path} ...")
    elif not probe["passed"]:
        say = problems.warning if recipe.scorer_force else problems.error
        say(
            f"the scorer {path} failed its probe: {'; '.join(probe['reasons'])}",
            hint=f"look at {PROBE}; another judge or more ratings, or scorer_force: true",
        )
    return found
