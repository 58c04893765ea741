"""Inputs of a training run, opened once and passed on as objects: editor, cases, pairs, rewards, and their hashes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from hpedit.bench.benchmark_run import cases_fingerprint
from hpedit.cases.folder import CasesFolder, lazy_cases
from hpedit.cases.pairs.pair_table import PreferencePair, lazy_pairs
from hpedit.config.recipe import Recipe
from hpedit.editors.locate import model_name
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.rl.monitor.evaluations import SECOND
from hpedit.rl.monitor.held_out_cases import HeldOutSplit, split_cases
from hpedit.rl.parallel.processes import ProcessGroup, SingleProcess
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.scorer.custom_reward import is_custom, load_custom
from hpedit.scorer.hp_scorer import HPScorer
from hpedit.scorer.probes.gate import PROBE_FILES, admit_reward
from hpedit.scorer.protocol import Scorer
from hpedit.store.lazy_rows import LazyRows
from hpedit.store.run_folder import hash_path

logger = logging.getLogger(__name__)

CASES_INDEX = "cases_index.json"
"""In the run's folder: which rows of the tables are trained on."""


class RunInputs:
    """What a training run reads. Each part is loaded at its first access, unless it was passed in.

    inputs = RunInputs.open(recipe)
    inputs.hashes()                          # of all of it, by content, without loading a model
    inputs.editor, inputs.split.training, inputs.pairs, inputs.rewards
    """

    def __init__(self, recipe: Recipe, processes: ProcessGroup) -> None:
        self.recipe, self.processes = recipe, processes
        self._editor: TrainableEditor | None = None
        self._cases: Sequence[Case] | None = None
        self._scorer: Scorer | None = None
        self._held_out: Sequence[Case] | None = None
        self._second_judge: Scorer | None = None

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        processes: ProcessGroup | None = None,
        *,
        editor: TrainableEditor | None = None,
        cases: Sequence[Case] | None = None,
        scorer: Scorer | None = None,
        held_out: Sequence[Case] | None = None,
        second_judge: Scorer | None = None,
    ) -> RunInputs:
        """Take what is passed in; the rest is read as the recipe names it. See `hpedit.rl.trainer.train`."""
        inputs = cls(recipe, processes or SingleProcess())
        inputs._editor, inputs._cases, inputs._scorer = editor, cases, scorer
        inputs._held_out, inputs._second_judge = held_out, second_judge
        return inputs

    def hashes(self) -> dict[str, str]:
        """Content hash of each input by name, for the run's folder."""
        recipe, found = self.recipe, {}
        if self._editor:
            with self._editor.lora_disabled():
                found["editor"] = self._editor.fingerprint
        else:
            found["editor"] = model_name(recipe.editor.model, recipe.editor.revision)
            found |= {f"frozen LoRA {path}": hash_path(path) for path in recipe.editor.frozen_loras}
        scorer = self._scorer.fingerprint if self._scorer else None
        if recipe.offline:
            assert recipe.dpo.pairs is not None
            found["pairs"] = hash_path(recipe.dpo.pairs)
        else:
            given = None if self._cases is None else _cases_hash(self._cases)
            found["cases"] = given or CasesFolder(recipe.cases).fingerprint()
            found[MAIN] = scorer or _reward_hash(recipe.scorer)
            found |= {reward.name: _reward_hash(reward.scorer) for reward in recipe.rewards}
        return found | self._evaluation_hashes(scorer)

    def _evaluation_hashes(self, scorer: str | None) -> dict[str, str]:
        """Of what held-out evaluation reads; {} where it is off."""
        settings, found = self.recipe.evaluate, {}
        if not settings.every:
            return {}
        if self.recipe.offline and (self._held_out is not None or settings.cases):
            found[MAIN] = scorer or _reward_hash(self.recipe.scorer)
        if self._held_out is not None:
            found["held-out cases"] = cases_fingerprint(self._held_out)
        elif settings.cases:
            found["held-out cases"] = CasesFolder(settings.cases).fingerprint()
        if self._second_judge is not None:
            found["second judge"] = self._second_judge.fingerprint
        elif settings.second_judge:
            found["second judge"] = hash_path(settings.second_judge, PROBE_FILES)
        return found

    @cached_property
    def editor(self) -> TrainableEditor:
        """The base to be trained; encoded cases are cached in the run's folder."""
        return self._editor or _load_base(self.recipe)

    @cached_property
    def cases(self) -> Sequence[Case]:
        """All different cases, training and held-out ones; those of the recipe are read lazily. Empty offline."""
        if self.recipe.offline:
            return []
        if self._cases is not None:
            return list({case.group_key: case for case in self._cases}.values())
        # Rank 0 goes through the tables first, which are many GB, and the others read the index that it writes.
        if self.processes.rank:
            self.processes.gather(None)
        found: LazyRows[Case] = lazy_cases(CasesFolder(self.recipe.cases), Path(self.recipe.output) / CASES_INDEX)
        if not self.processes.rank:
            self.processes.gather(None)
        return found

    @cached_property
    def split(self) -> HeldOutSplit:
        """The cases, split into those to train on and those held out."""
        path, given = self.recipe.evaluate.cases, self._held_out
        if given is None and path and self.recipe.evaluate.every:
            given = list(CasesFolder(path).kept())
        return split_cases(self.cases, given, self.recipe)

    @cached_property
    def pairs(self) -> Sequence[PreferencePair]:
        """Rated pairs of offline DPO, read lazily; empty online."""
        return lazy_pairs(self.recipe.dpo.pairs) if self.recipe.dpo.pairs and self.recipe.offline else []

    @cached_property
    def count(self) -> int:
        """Cases, or pairs, that iterations draw from; HPEditError if one iteration wants more."""
        offline, groups = self.recipe.offline, self.recipe.rollout.groups
        count = len(self.pairs if offline else self.split.training)
        if count < groups:
            raise HPEditError(
                f"{count} {'pairs' if offline else 'different training cases'} are too few for {groups} groups",
                hint=f"set rollout.groups to at most {count}, or build more",
            )
        return count

    @cached_property
    def rewards(self) -> Rewards:
        """The scorers that give the reward, with their weights.

        Raises:
            HPEditError: a scorer has no signal or failed its probe, unless the recipe forces it.
        """
        recipe = self.recipe
        scorers = {MAIN: self._scorer or load_reward(recipe.scorer, recipe.scorer_force)}
        scorers |= {reward.name: load_reward(reward.scorer, recipe.scorer_force) for reward in recipe.rewards}
        return Rewards(scorers, {MAIN: 1.0, **{reward.name: reward.weight for reward in recipe.rewards}})

    @cached_property
    def evaluation_scorers(self) -> dict[str, Scorer]:
        """Everything that scores held-out edits: the rewards by name, then the second judge.

        Raises:
            HPEditError: the second judge has no signal (unless scorer_force), or is a reward itself.
        """
        path, second = self.recipe.evaluate.second_judge, self._second_judge
        if second is None and path:
            second = _load_fitted("second judge", path, self.recipe.scorer_force)
        if second is None:
            return dict(self.rewards.scorers)
        for name, scorer in self.rewards.scorers.items():
            _check_independent(second, name, scorer)
        return {**self.rewards.scorers, SECOND: second}

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass recomputes activations: those of 60 blocks do not fit on a GPU."""
        return self._on(self.recipe.train.checkpointing)

    @property
    def encoders_leave(self) -> bool:
        """Whether what only encoding needs goes to the CPU; offline DPO encodes pictures in every iteration."""
        return not self.recipe.offline and self._on(self.recipe.editor.offload_encoders)

    def _on(self, asked: str) -> bool:
        return self.editor.device.type == "cuda" if asked == "auto" else asked == "on"


def _load_base(recipe: Recipe) -> TrainableEditor:
    from hpedit.editors.load import open_editor

    return open_editor(recipe.editor, cfg=recipe.rollout.cfg, cache=Path(recipe.output) / "conditioning")


def _reward_hash(spec: str) -> str:
    return load_custom(spec).fingerprint if is_custom(spec) else hash_path(spec, PROBE_FILES)


def load_reward(path: str, force: bool) -> Scorer:
    """Load a reward: a fitted scorer's folder, a dotted path or an HTTP service (see `custom_reward`).

    HPEditError if a fitted scorer has no signal or failed its probe, unless forced.
    """
    if is_custom(path):
        return load_custom(path)
    fitted = _load_fitted("scorer", path, force)
    admit_reward(path, fitted.fingerprint, force=force)
    return fitted


def _load_fitted(role: str, path: str, force: bool) -> HPScorer:
    fitted, use = HPScorer.load(path), "reward" if role == "scorer" else "judge"
    if fitted.calibration.verdict != "ok" and not force:
        raise HPEditError(
            f"the {role} {path} has no signal and is refused as a {use}: {fitted.calibration.reason}",
            hint="rate more edits or take another judge, or set scorer_force: true",
        )
    return fitted


def _check_independent(second: Scorer, name: str, reward: Scorer) -> None:
    """HPEditError if the second judge is the reward; a warning if it asks the same judge."""
    if second.fingerprint == reward.fingerprint:
        raise HPEditError(f"the second judge is the reward {name} itself", hint="it must be another scorer")
    if isinstance(second, HPScorer) and isinstance(reward, HPScorer):
        asked = [{judge.fingerprint for judge in one.judges.values()} for one in (second, reward)]
        if asked[0] & asked[1]:
            logger.warning("the second judge asks a judge that the reward %s asks too: not an independent one", name)


def _cases_hash(cases: Sequence[Case]) -> str:
    return hashlib.sha256("\n".join(f"{case.id} {case.group_key}" for case in cases).encode()).hexdigest()
