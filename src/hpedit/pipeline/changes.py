"""Which settings of a run may still change in its folder: those that no finished stage has read, and more iterations.

So a run that was refused, because its judge has no signal say, goes on in the same folder once the recipe is corrected,
and keeps the cases, edits and ratings that it has. What unfinished stages made with the old settings is removed.

No torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from hpedit.pipeline.recipe import MAY_CHANGE, RunRecipe
from hpedit.pipeline.state import STATE, at_work, read_state
from hpedit.store.atomic import read_json, write_json
from hpedit.store.run_folder import RECIPE

ORDER: Final = ("cases", "edits", "ratings", "scorer", "hard cases", "train", "bench")
FIRST_READ: Final[Mapping[str, str]] = {
    "": "cases",
    "editor": "edits",
    "cases.edits": "edits",
    "rollout.steps": "edits",
    "rollout.cfg": "edits",
    "ratings": "ratings",
    "ratings.run": "cases",
    "judge": "scorer",
    "scorer": "scorer",
    "cases.filter": "hard cases",
    "cases.edits.per_candidate": "hard cases",
    **dict.fromkeys(("rewards", "lora", "rollout", "train", "nft", "dpo"), "train"),
    **dict.fromkeys(("checkpoint", "log", "evaluate"), "train"),
    "bench": "bench",
}
"""Key, or section -> the first stage that reads it; the longest that fits counts."""
MADE: Final[Mapping[str, tuple[str, ...]]] = {
    "cases": ("splits",),
    "edits": ("base_edits", "ratings"),
    "ratings": ("ratings/ratings.csv",),
    "scorer": ("scorer", "agreement.json"),
    "hard cases": (),
    "train": ("train", "control", "controls"),
    "bench": ("bench",),
}
"""What a stage leaves in the run's folder; builds of cases know themselves what has become stale."""
LENGTH: Final = "train.iterations"
OF_LENGTH: Final = ("control", "controls", "bench/post", "bench/control", "bench/controls", "bench/compare")
"""What a prolonged training makes stale. The training itself goes on, and the base's edits stay."""

UNSETTLED: Final = {"dtype": "auto", "resolution": None}
"""Keys of the editor that a run settles at its start, and their values until then."""


def settings_to_claim(recipe: RunRecipe) -> dict[str, Any]:
    """The settings that the run's folder is compared with: the recipe's, less the changes that it can still take."""
    there, asked = _there(recipe), recipe.shaping()
    if there is None:
        return asked
    done = finished_stages(recipe.path)
    for key, open_value in UNSETTLED.items():
        # A plan asks for no device: what is left open stands for what the folder has.
        if asked["editor"].get(key) == open_value and key in there["editor"]:
            asked["editor"][key] = there["editor"][key]
    # What is taken is as it is in the folder; what is left differs and is refused.
    return _mixed(there, asked, lambda key, old, new: old if _may_take(key, old, new, done) else new)


def take_changes(recipe: RunRecipe) -> list[str]:
    """Write the changes that the folder can still take into its recipe.json, and remove what they make stale.

    Returns:
        The keys that have changed.
    """
    there = _there(recipe)
    if there is None or at_work(recipe.path):
        return []
    out, done = recipe.path, finished_stages(recipe.path)
    changed: list[str] = []

    def take(key: str, old: Any, new: Any) -> Any:
        if old == new or not _may_take(key, old, new, done):
            return old
        changed.append(key)
        return new

    asked = recipe.shaping()
    taken = _with_new_keys(_mixed(there, asked, take), asked)
    if LENGTH in changed and "train" in done and taken != asked:
        return []  # It will be refused, and keeps what it has.
    stale = {stage for key in changed if (stage := _reader(key)) not in done}
    file, copy = recipe.ratings.file, out / "ratings" / "ratings.csv"
    if file is not None and "ratings" not in done and copy.is_file() and Path(file).is_file():
        stale |= {"ratings"} if Path(file).stat().st_mtime > copy.stat().st_mtime else set()
    if stale:
        for name in ORDER[min(map(ORDER.index, stale)) :]:
            for path in MADE[name]:
                _remove(out / path)
    if LENGTH in changed:
        for path in OF_LENGTH:
            _remove(out / path)
    if taken != there:
        write_json(out / RECIPE, read_json(out / RECIPE) | {"recipe": taken})
    return changed


def _may_take(key: str, old: Any, new: Any, done: Collection[str]) -> bool:
    """Whether a changed setting is one that no finished stage has read, or prolongs the training."""
    return _reader(key) not in done or (key == LENGTH and new > old)


def finished_stages(out: Path) -> set[str]:
    """Stages whose results stay: up to the last that is done; ratings stay open until the scorer has proved them."""
    if not (out / STATE).is_file():
        return set()
    done = {one["name"] for one in read_state(out) if one["phase"] == "done"} & set(ORDER)
    if any((out / "train" / "checkpoints").glob("*")):
        done.add("train")
    if (out / "ratings" / "edits.parquet").is_file():
        done.add("edits")
    if (out / "splits" / "bench.parquet").is_file():
        done.add("cases")
    last = max(map(ORDER.index, done), default=-1)
    found = set(ORDER[: last + 1])
    return found - {"ratings"} if last < ORDER.index("scorer") else found


def _there(recipe: RunRecipe) -> dict[str, Any] | None:
    """Settings that the folder was claimed with; None if it is not one of a run."""
    file = recipe.path / RECIPE
    found = read_json(file) if file.is_file() else None
    if not isinstance(found, dict) or found.get("stage") != "run" or not isinstance(found.get("recipe"), dict):
        return None
    settings: dict[str, Any] = found["recipe"]
    return settings


def _mixed(there: Mapping[str, Any], asked: Mapping[str, Any], choose: Any, key: str = "") -> dict[str, Any]:
    """Settings under the keys of `there`, each as `choose(key, old, new)` says; a key of no recipe now is left out."""
    found: dict[str, Any] = {}
    for name, old in there.items():
        at = f"{key}.{name}" if key else name
        if name not in asked:
            if at not in MAY_CHANGE:
                found[name] = old
        elif isinstance(old, dict) and isinstance(asked[name], dict):
            found[name] = _mixed(old, asked[name], choose, at)
        else:
            found[name] = choose(at, old, asked[name])
    return found


def _with_new_keys(taken: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """With the keys that the version which claimed the folder did not know."""
    both = {
        name: _with_new_keys(value, asked[name])
        if isinstance(value, dict) and isinstance(asked.get(name), dict)
        else value
        for name, value in taken.items()
    }
    return both | {name: value for name, value in asked.items() if name not in taken}


def _reader(key: str) -> str:
    fitting = [name for name in FIRST_READ if not name or key == name or key.startswith(f"{name}.")]
    return FIRST_READ[max(fitting, key=len)]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
