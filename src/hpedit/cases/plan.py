"""What each stage of a build depends on: the parts of the recipe, and the contents of what it names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.cases import steps
from hpedit.cases.recipe import CasesRecipe, EditsSection, InstructionsSection, LabelsSection
from hpedit.cases.sources.ready import case_files
from hpedit.cases.stages import Stage
from hpedit.config.reading import Section
from hpedit.errors import HPEditError
from hpedit.store.run_folder import hash_path

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer

LAYOUT = 2
"""Of the files between the stages, and of the labellers' prompts; a build of another one is stale from the first on."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the caller has in memory already, instead of what the recipe names."""

    editor: Editor | None = None
    scorer: Scorer | None = None


def plan(recipe: CasesRecipe, out: Path, base: Path, fingerprints: Sequence[str], given: Given) -> list[Stage]:
    """The stages of a build, in order; `fingerprints` are of the sources, by number."""
    edits, filtering = recipe.edits, recipe.filter
    exclude = {f"duplicates.exclude[{n}]": _bench_hash(base / path) for n, path in enumerate(recipe.duplicates.exclude)}
    objects = recipe.instructions.objects
    objects_hash = {"instructions.objects": hash_path(base / objects)} if objects else {}
    parts: list[tuple[str, dict[str, Any], dict[str, str], tuple[str, ...]]] = [
        (
            steps.PHOTOS,
            {"layout": LAYOUT, "sources": [_dump(section) for section in recipe.sources]},
            {f"sources[{n}]": text for n, text in enumerate(fingerprints)},
            (),
        ),
        (steps.UNIQUE, {"duplicates": _dump(recipe.duplicates)}, exclude, ()),
        (steps.LABELS, {"labels": _dump(recipe.labels)}, _model("labels.model", recipe.labels, base), ()),
        (
            steps.DRAFTS,
            {"seed": recipe.seed, "instructions": _dump(recipe.instructions)},
            objects_hash | _words(recipe.instructions) | _model("instructions.model", recipe.instructions, base),
            (),
        ),
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
    """The program's own words, of which instructions are made; another version may have others."""
    if section.by == "given":
        return {}
    if section.by == "templates":
        from hpedit.cases.instructions.templates import words_fingerprint
    else:
        from hpedit.cases.instructions.judge_writer import words_fingerprint
    return {"instructions.words": words_fingerprint()}


def placed(model: str, base: Path) -> str:
    """A model's folder by its full path, since a worker may stand elsewhere; any other name as it is."""
    return str(base / model) if model != "mini" and (base / model).is_dir() else model


def _model(name: str, section: LabelsSection | InstructionsSection, base: Path) -> dict[str, str]:
    """The model of a section, if it runs one, under the recipe's name for it."""
    if section.by not in ("clip", "judge") or section.model is None:
        return {}
    from hpedit.store.shipped import judge_path

    folder = judge_path() if section.model == "mini" else Path(placed(section.model, base))
    return {name: _model_key(folder, section.model, section.revision)}


def _model_key(folder: Path, name: str, revision: str | None) -> str:
    """Content of a model folder; of a server or a hub's model the name, since only its owner knows what is in it."""
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

    found = {"edits.editor": model_name(placed(section.editor, base), section.revision)}
    return found | ({"edits.lora": hash_path(base / section.lora)} if section.lora else {})


def _scorer(folder: str | None, base: Path, given: Scorer | None) -> dict[str, str]:
    if given is not None:
        return {"filter.scorer": given.fingerprint}
    if folder is None:
        return {}
    # Not the whole folder: a probe writes into it, and changes no score.
    files = [base / folder / name for name in ("calibration.json", "scorer.json")]
    if not all(file.is_file() for file in files):
        raise HPEditError(f"{base / folder} is not the folder of a fitted scorer", hint="`hpedit scorer fit` makes one")
    return {"filter.scorer": hashlib.sha256("".join(map(hash_path, files)).encode()).hexdigest()}
