"""What a run reads: by content for its folder, and loaded where it was not passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hpedit.cases.folder import CasesFolder, lazy_cases
from hpedit.config.recipe import Recipe
from hpedit.editors.locate import model_name
from hpedit.editors.protocol import TrainableEditor
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.rl.parallel.processes import World
from hpedit.rl.rewards import MAIN, Rewards
from hpedit.scorer.probes.gate import PROBE_FILES, admit_reward
from hpedit.scorer.protocol import Scorer
from hpedit.store.lazy_rows import LazyRows
from hpedit.store.run_folder import hash_path

CASES_INDEX = "cases_index.json"
"""In the run's folder: which rows of the tables are trained on."""


def run_inputs(
    recipe: Recipe, editor: TrainableEditor | None, cases: Sequence[Case] | None, scorer: Scorer | None
) -> dict[str, str]:
    """What a run reads, by content."""
    inputs = {
        "editor": _base_fingerprint(editor) if editor else model_name(recipe.editor.model, recipe.editor.revision)
    }
    if recipe.offline:
        assert recipe.dpo.pairs is not None
        return inputs | {"pairs": hash_path(recipe.dpo.pairs)}
    inputs["cases"] = _cases_hash(cases) if cases is not None else CasesFolder(recipe.cases).fingerprint()
    inputs[MAIN] = scorer.fingerprint if scorer else hash_path(recipe.scorer, PROBE_FILES)
    return inputs | {reward.name: hash_path(reward.scorer, PROBE_FILES) for reward in recipe.rewards}


def check_enough(count: int, recipe: Recipe) -> None:
    """HPEditError if an iteration wants more cases, or pairs, than there are."""
    if count < recipe.rollout.groups:
        what = "pairs" if recipe.offline else "different training cases"
        raise HPEditError(
            f"{count} {what} are too few for {recipe.rollout.groups} groups",
            hint=f"set rollout.groups to at most {count}, or build more",
        )


def load_base(recipe: Recipe) -> TrainableEditor:
    """The recipe's editor, without a LoRA; encoded cases are kept in the run's folder."""
    from hpedit.editors.load import load_editor

    wanted = recipe.editor
    return load_editor(
        wanted.model,
        wanted.revision,
        wanted.dtype,
        wanted.resolution,
        wanted.device,
        cache=Path(recipe.output) / "conditioning",
        source_area=wanted.source_area,
        condition_area=wanted.condition_area,
        cfg=recipe.rollout.cfg,
        guidance=wanted.guidance,
        base=wanted.base,
        compile=wanted.compile,
    )


def load_cases(recipe: Recipe, world: World) -> Sequence[Case]:
    """The recipe's training cases, read when they are drawn; where they stand is kept in the run's folder.

    Rank 0 goes through the tables first, which are many GB, and the others read what it found.
    """
    if world.rank:
        world.gather(None)
    found = lazy_cases(CasesFolder(recipe.cases), Path(recipe.output) / CASES_INDEX)
    if not world.rank:
        world.gather(None)
    return found


def different_cases(cases: Sequence[Case]) -> Sequence[Case]:
    """Without those whose sources and instruction were there before; of lazy ones they are left out already."""
    return cases if isinstance(cases, LazyRows) else list({case.group_key: case for case in cases}.values())


def recomputes(recipe: Recipe, editor: TrainableEditor) -> bool:
    """Whether activations are computed again in the backward pass: on a GPU those of 60 blocks do not fit."""
    asked = recipe.train.checkpointing
    return editor.device.type == "cuda" if asked == "auto" else asked == "on"


def encoders_leave(recipe: Recipe, editor: TrainableEditor) -> bool:
    """Whether what only encoding needs goes to the CPU; offline DPO encodes pictures in every iteration."""
    asked = recipe.editor.offload_encoders
    return not recipe.offline and (editor.device.type == "cuda" if asked == "auto" else asked == "on")


def load_rewards(recipe: Recipe, scorer: Scorer | None) -> Rewards:
    """The recipe's scorer, or the one passed in, and its further rewards.

    Raises:
        HPEditError: a scorer has no signal or failed its probe, unless the recipe forces it.
    """
    scorers = {MAIN: scorer or load_scorer(recipe.scorer, recipe.scorer_force)}
    scorers |= {reward.name: load_scorer(reward.scorer, recipe.scorer_force) for reward in recipe.rewards}
    return Rewards(scorers, {MAIN: 1.0, **{reward.name: reward.weight for reward in recipe.rewards}})


def load_scorer(path: str, force: bool) -> Scorer:
    """A fitted scorer that may be a reward."""
    from hpedit.scorer.hp_scorer import HPScorer

    fitted = HPScorer.load(path)
    if fitted.calibration.verdict != "ok" and not force:
        raise HPEditError(
            f"the scorer {path} has no signal and is refused as a reward: {fitted.calibration.reason}",
            hint="rate more edits or take another judge, or set scorer_force: true",
        )
    admit_reward(path, fitted.fingerprint, force=force)
    scorer: Scorer = fitted
    return scorer


def _base_fingerprint(editor: TrainableEditor) -> str:
    with editor.lora_disabled():
        return editor.fingerprint


def _cases_hash(cases: Sequence[Case]) -> str:
    return hashlib.sha256("\n".join(f"{case.id} {case.group_key}" for case in cases).encode()).hexdigest()
