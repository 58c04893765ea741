"""HP-Edit from Python: edit, score, calibrate, train on a reward of your own, run everything.

`calibrate` fits a judge on people's ratings, `train` takes a training recipe, `run` one of `hpedit run`; each does what
the command of the same name does, and continues in the folder that its recipe names.

Examples:
    >>> from hpedit import api
    >>> editor = api.load_editor("mini")
    >>> edit = api.edit(editor, picture, "make the background out of focus", seed=0, steps=4)
    >>> edit.size
    (32, 32)

    A judge taken at its word, or a fitted scorer's folder, scores edits from 0 to 5; None says that it can't:

    >>> scorer = api.load_scorer("mini")
    >>> score = api.score(scorer, picture, edit, "make the background out of focus", task="bokeh")
    >>> 0 <= score.value <= 5
    True

    A function is a scorer, too, and can be what is trained on:

    >>> def darkness(source, edit, instruction):
    ...     return 5 - 5 * sum(edit.resize((1, 1)).getpixel((0, 0))) / 765
    >>> api.score(darkness, picture, edit, "make it night", task="relighting").reason is None
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from hpedit.records import Case, Edit, Rating, Score
from hpedit.scorer.custom_reward import FunctionScorer, RewardFunction, is_custom, load_custom
from hpedit.scorer.protocol import Scorer

if TYPE_CHECKING:
    from hpedit.editors.diffusers_editor import DiffusersEditor
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.hp_scorer import HPScorer

__all__ = [
    "Case", "Edit", "Rating", "Score", "calibrate", "edit", "load_editor", "load_scorer", "run", "score", "train",
]  # fmt: skip


def load_editor(model: str = "mini", **settings: Any) -> DiffusersEditor:
    """Load an editor: "mini", a folder, or a hub id.

    Args:
        model: As `editor.model` in a recipe.
        settings: See `hpedit.editors.load.load_editor`: revision, dtype, resolution, device, lora, cfg, ...

    Raises:
        HPEditError: no such model, or settings that don't fit it.
    """
    from hpedit.editors.load import load_editor as load

    return load(model, **settings)


def edit(editor: Editor, picture: Image.Image, instruction: str, *, seed: int = 0, steps: int = 8) -> Image.Image:
    """Edit one picture; returns RGB at the editor's own output size."""
    from hpedit.editors.sampling import edit_image

    return edit_image(editor, picture, instruction, seed=seed, steps=steps)


def load_scorer(spec: str | Path | RewardFunction, *, force: bool = False) -> Scorer:
    """Load what scores edits.

    Args:
        spec: Folder of a fitted scorer; a judge ("mini", a hub id, http://HOST/v1#MODEL) taken at its word; the dotted
            path of a function or the address of a service (see `hpedit.scorer.custom_reward`); or a function of
            (source, edit, instruction).
        force: Take a fitted scorer without signal, too.

    Raises:
        HPEditError: there is none of these, or a fitted scorer without signal.
    """
    from hpedit.errors import HPEditError
    from hpedit.judges.loading import load_judge
    from hpedit.scorer.hp_scorer import SETTINGS, HPScorer
    from hpedit.scorer.uncalibrated import UncalibratedScorer

    if callable(spec):
        return FunctionScorer(spec)
    text = str(spec)
    if (Path(text) / SETTINGS).is_file():
        fitted = HPScorer.load(Path(text))
        if fitted.calibration.verdict != "ok" and not force:
            raise HPEditError(f"the scorer {text} has no signal: {fitted.calibration.reason}", hint="pass force=True")
        return fitted
    if is_custom(text) and "#" not in text:
        return load_custom(text)
    return UncalibratedScorer(load_judge(text))


def score(
    scorer: Scorer | RewardFunction, source: Image.Image, edit: Image.Image, instruction: str, *, task: str
) -> Score:
    """Score one edit from 0 to 5; its value is None, with the reason, where there is no score to be had.

    Args:
        scorer: Of `load_scorer`, or a function of (source, edit, instruction).
        source: The photograph.
        edit: What the editor made of it.
        instruction: What it was asked for.
        task: One of `hpedit.tasks.TASK_IDS`.
    """
    whole = scorer if hasattr(scorer, "score") else FunctionScorer(scorer)
    case = Case("one", task, instruction, (source.convert("RGB"),), "one")
    return whole.score([case], [edit.convert("RGB")], ["one"])[0]


def calibrate(
    judge: str, cases: Mapping[str, Case] | Sequence[Case], edits: Sequence[Edit], ratings: Sequence[Rating], out: Path
) -> tuple[HPScorer, dict[str, Any]]:
    """Fit a judge on people's ratings of edits and write the scorer's folder: `hpedit scorer fit`.

    Args:
        judge: As --judge of the command.
        cases: Of the edits, or by their ids.
        edits: With their pictures.
        ratings: One for each rater and edit.
        out: The scorer's folder.

    Returns:
        The scorer, and what the fit says of itself on photographs that it has not seen.

    Raises:
        HPEditError: too few rated edits, or a judge that can't be had.
    """
    from hpedit.scorer.fitting import fit_judged, load_judges, rated_pictures

    by_id = dict(cases) if isinstance(cases, Mapping) else {case.id: case for case in cases}
    return fit_judged(rated_pictures(by_id, edits, ratings), load_judges([judge]), out)


def train(
    recipe: Path | str, *, reward: Scorer | RewardFunction | None = None, overrides: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Post-train an editor by a recipe of `hpedit train`; returns one record an iteration.

    Args:
        recipe: YAML file.
        reward: Instead of the recipe's scorer: a scorer, or a function of (source, edit, instruction).
        overrides: Such as "train.iterations=10".

    Raises:
        HPEditError: mistakes in the recipe, all at once, or whatever ends a run.
    """
    from hpedit.config.recipe import load_recipe
    from hpedit.rl.trainer import train as run_training

    given = reward is None or hasattr(reward, "score")
    scorer = cast("Scorer | None", reward) if given else FunctionScorer(cast(RewardFunction, reward))
    found: list[dict[str, Any]] = run_training(load_recipe(recipe, overrides), scorer=scorer).metrics
    return found


def run(recipe: Path | str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run, or continue, all stages of a recipe of `hpedit run`; returns the summary of its report."""
    from hpedit.pipeline.recipe import load_run_recipe
    from hpedit.pipeline.run import run_pipeline

    return run_pipeline(load_run_recipe(recipe, list(overrides)))
