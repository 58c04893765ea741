"""Leakage check: no training case may be in a benchmark, by id, by photo, by pixels, by perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpedit.bench.external_edits import first_names
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.atomic import read_json
from hpedit.store.run_folder import RECIPE


def leaked_cases(cases: Sequence[Case], training: Sequence[Path]) -> dict[str, str]:
    """Ids of benchmark cases which are also in `training` (parquets or folders of cases), each with the reason.

    A scene with an exact target is compared by ids and pixels alone: such scenes share backgrounds and shapes by
    design, and are split by photo tile.
    """
    from hpedit.cases.duplicates import NO_HASH, image_fingerprints
    from hpedit.cases.exclusion import Exclusion

    if not training:
        return {}
    seen = Exclusion.of(training)
    found: dict[str, str] = {}
    for case in cases:
        for image in case.sources:
            sha, likeness = image_fingerprints(image)
            reason = seen.reason(case.id, case.source_id, sha, NO_HASH if case.oracle else likeness)
            if reason and case.id not in found:
                found[case.id] = reason.replace(", which is excluded", "")
    return found


def refuse_leaked_cases(cases: Sequence[Case], training: Sequence[Path]) -> None:
    """HPEditError that names `leaked_cases`, if there are any."""
    found = leaked_cases(cases, training)
    if found:
        first, reason = next(iter(found.items()))
        raise HPEditError(
            f"{len(found)} of {len(cases)} cases are in the training data: {first_names(list(found))}; "
            f"{first}: {reason}",
            hint="a model scores better on what it has seen: remove these cases from the benchmark",
        )


def training_cases(path: Path) -> Path:
    """The training cases of a recipe (.yaml) or a run folder, or `path` itself if it holds cases.

    Raises:
        HPEditError: there is nothing at `path`, or at what it names.
    """
    named = path
    if path.suffix.lower() in (".yaml", ".yml"):
        from hpedit.config.recipe import load_recipe

        named = Path(load_recipe(path).cases)
    elif path.is_dir() and (path / RECIPE).is_file():
        made = read_json(path / RECIPE)
        if made.get("stage") == "train":
            named = Path(made["recipe"]["cases"])
    if not named.exists():
        raise HPEditError(f"{named} does not exist: the cases that {path} was trained on", hint="name the cases")
    return named


def run_of_lora(lora: Path) -> Path | None:
    """The training run whose folder contains this LoRA (or the target of this link); None if it was moved away."""
    place = lora.resolve()
    for folder in (place, place.parent):
        if (folder / RECIPE).is_file() and read_json(folder / RECIPE).get("stage") == "train":
            return folder
    return None
