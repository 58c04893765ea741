"""Plan the stages of a build: the recipe sections and input hashes that each depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.cases import steps
from hpedit.cases.build_stages import Stage
from hpedit.cases.recipe import CasesRecipe, EditsSection, InstructionsSection, LabelsSection
from hpedit.cases.sources.ready import case_files
from hpedit.config.reading import Section
from hpedit.errors import HPEditError
from hpedit.store.run_folder import hash_path

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer

LAYOUT = 2
"""Version of the tables between stages and of the labellers' prompts; another one makes all stages stale."""


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Models that the caller has in memory, used instead of those in the recipe."""

    editor: Editor | None = None
    scorer: Scorer | None = None


def plan_stages(
    recipe: CasesRecipe, out: Path, base: Path, fingerprints: Sequence[str], given: LoadedModels
) -> list[Stage]:
    """Plan the stages of a build, in order; `fingerprints` are of the sources."""
    edits, filtering = recipe.edits, recipe.filter
    exclude = {f"duplicates.exclude[{n}]": _bench_hash(base / path) for n, path in enumerate(recipe.duplicates.exclude)}
    objects = recipe.instructions.objects
    objects_hash = {"instructions.objects": hash_path(base / objects)} if objects else {}
    writer = objects_hash | _words(recipe.instructions) | _model("instructions.model", recipe.instructions, base)
    photos = {"layout": LAYOUT, "sources": [_dump(section) for section in recipe.sources]}
    parts: list[tuple[str, dict[str, Any], dict[str, str], tuple[str, ...]]] = [
        (steps.PHOTOS, photos, {f"sources[{n}]": text for n, text in enumerate(fingerprints)}, ()),
        (steps.UNIQUE, {"duplicates": _dump(recipe.duplicates)}, exclude, ()),
        (steps.LABELS, {"labels": _dump(recipe.labels)}, _model("labels.model", recipe.labels, base), ()),
        (steps.INSTRUCTIONS, {"seed": recipe.seed, "instructions": _dump(recipe.instructions)}, writer, ()),
        (steps.BALANCE, {"balance": _dump(recipe.balance)}, {}, (steps.CANDIDATES,)),
        (steps.EDITS, {"edits": _dump(edits)}, _editor(edits, base, given.editor), ()),
        (steps.SCORES, {"filter": {"scorer": filtering.scorer}}, _scorer(filtering.scorer, base, given.scorer), ()),
        (steps.FILTER, {"filter": _dump(filtering, "scorer", "sheet")}, {}, ()),
        (steps.DATASET, {"dataset": _dump(recipe.dataset), "filter": {"sheet": filtering.sheet}}, {}, ("dataset",)),
    ]
    stages: list[Stage] = []
    for name, settings, inputs, also in parts:
        stages.append(Stage(name, out, settings, inputs, stages[-1].key if stages else "", also))
    return stages


def _dump(section: Section, *without: str) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude=set(without))


def _bench_hash(path: Path) -> str:
    return hashlib.sha256("".join(hash_path(file) for file in case_files(path)).encode()).hexdigest()


def _words(section: InstructionsSection) -> dict[str, str]:
    """Fingerprint of the shipped templates or prompts: another version may have others."""
    if section.by == "given":
        return {}
    if section.by == "templates":
        from hpedit.cases.instructions.templates import template_fingerprint as fingerprint
    else:
        from hpedit.cases.instructions.judge_writer import prompt_fingerprint as fingerprint
    return {"instructions.words": fingerprint()}


def full_model_path(model: str, base: Path) -> str:
    """The full path of a model folder, since a worker may run elsewhere; other names unchanged."""
    return str(base / model) if model != "mini" and (base / model).is_dir() else model


def _model(name: str, section: LabelsSection | InstructionsSection, base: Path) -> dict[str, str]:
    """Fingerprint of a section's model, if it runs one, by recipe key."""
    if section.by not in ("clip", "judge") or section.model is None:
        return {}
    from hpedit.store.shipped import judge_path

    folder = judge_path() if section.model == "mini" else Path(full_model_path(section.model, base))
    return {name: _model_key(folder, section.model, section.revision)}


def _model_key(folder: Path, name: str, revision: str | None) -> str:
    """Content hash of a model folder; of a server's or hub's model name and revision, since its content is unknown."""
    if not folder.is_dir():
        return f"{name}@{revision}"
    from hpedit.editors.fingerprint import folder_fingerprint

    return folder_fingerprint(folder)


def _editor(section: EditsSection, base: Path, given: Editor | None) -> dict[str, str]:
    if given is not None:
        return {"edits.editor": given.fingerprint}
    if section.editor is None:
        return {}
    from hpedit.editors.locate import model_name

    found = {"edits.editor": model_name(full_model_path(section.editor, base), section.revision)}
    return found | ({"edits.lora": hash_path(base / section.lora)} if section.lora else {})


def _scorer(folder: str | None, base: Path, given: Scorer | None) -> dict[str, str]:
    if given is not None:
        return {"filter.scorer": given.fingerprint}
    if folder is None:
        return {}
    # Not the whole folder: probes write into it without changing a score.
    files = [base / folder / name for name in ("calibration.json", "scorer.json")]
    if not all(file.is_file() for file in files):
        raise HPEditError(f"{base / folder} is no fitted scorer", hint="create one by `hpedit scorer fit`")
    return {"filter.scorer": hashlib.sha256("".join(map(hash_path, files)).encode()).hexdigest()}
