"""Plan the stages of a build: the recipe sections and input hashes that each depends on, and which are stale.

A stage's folder holds stage.json with its settings and a key: the hash of the settings, of the inputs' content and of
the previous stage's key. So a stage is stale when anything before it is. Where an input lies does not count, only what
it contains: a build goes on after it and its inputs were moved.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpedit.cases import steps
from hpedit.cases.recipe import CasesRecipe, EditsSection, InstructionsSection, LabelsSection
from hpedit.cases.sources.ready import case_files
from hpedit.config.editor import EditorSection
from hpedit.config.reading import Section
from hpedit.editors.usual import on_accelerator, settle_dtype
from hpedit.errors import HPEditError
from hpedit.store.atomic import TEMPORARY, dump_json, read_json, write_json
from hpedit.store.run_folder import hash_path

if TYPE_CHECKING:
    from hpedit.editors.protocol import Editor
    from hpedit.scorer.protocol import Scorer


STAGE = "stage.json"
SHOWN = 3
"""Differences named in an error."""
PLACES = re.compile(
    r"sources\[\d+\]\.(folder|image_folder|parquet|webdataset|table|cases|photos|objects)"
    r"|duplicates\.exclude|instructions\.objects|edits\.lora|filter\.scorer"
)
"""Settings that say where an input lies; its content is among the stage's inputs."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a build in its output folder."""

    name: str
    """Of its folder, with its number: "4-drafts"."""
    out: Path
    """The build's folder."""
    settings: Mapping[str, Any]
    """Its part of the recipe as plain JSON: {"instructions": {"per_photo": 2}}."""
    inputs: Mapping[str, str]
    """Hashes of external inputs, by recipe key."""
    before: str
    """Key of the previous stage; "" for the first."""
    also: tuple[str, ...] = ()
    """Further folders in `out` that it writes."""

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.out / self.name

    @property
    def key(self) -> str:
        """SHA-256 (hex) of everything that the stage depends on."""
        return hashlib.sha256(dump_json([self.settings, self.inputs, self.before]).encode()).hexdigest()

    @property
    def record(self) -> dict[str, Any] | None:
        """Content of stage.json; None before the stage was begun."""
        path = self.folder / STAGE
        if not path.exists():
            return None
        record: dict[str, Any] = read_json(path)
        return record

    @property
    def done(self) -> bool:
        """Whether the stage has finished."""
        record = self.record
        return record is not None and "counts" in record

    def begin(self) -> None:
        """Create the folders and stage.json, and remove temporary files that a kill left; a begun stage resumes."""
        for name in (self.name, *self.also):
            (self.out / name).mkdir(exist_ok=True)
            for path in (self.out / name).glob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)
        if self.record is None:
            self._write()

    def finish(self, counts: Mapping[str, Any]) -> None:
        """Record the counts and that the stage is finished."""
        self._write(counts=dict(counts))

    def _write(self, **more: Any) -> None:
        record = {"key": self.key, "settings": self.settings, "inputs": self.inputs, **more}
        write_json(self.folder / STAGE, record)

    def counts(self) -> dict[str, Any]:
        """The counts of a finished stage."""
        record = self.record
        assert record is not None, f"{self.name} was not begun"
        counts: dict[str, Any] = record["counts"]
        return counts

    @property
    def empty(self) -> bool:
        """Whether it was begun and has made nothing: it was refused, or killed at its start."""
        places = [self.folder, *(self.out / name for name in self.also)]
        files = {path.name for place in places if place.is_dir() for path in place.iterdir()}
        return not self.done and files <= {STAGE}

    def remove(self) -> None:
        """Remove everything it wrote; stage.json goes last, so that a kill leaves it stale."""
        for name in self.also:
            shutil.rmtree(self.out / name, ignore_errors=True)
        if self.folder.exists():
            for path in self.folder.iterdir():
                if path.name != STAGE:
                    path.unlink()
            shutil.rmtree(self.folder)


def refuse_stale_stages(stages: Sequence[Stage], *, update: bool, before: Callable[[], object] = int) -> list[str]:
    """Refuse or remove the stages on disk whose recipe or inputs have changed.

    Stages that made nothing, since an earlier recipe was refused there, are removed in any case.

    Args:
        stages: All, in order.
        update: Remove the others too instead of refusing.
        before: Called before anything is removed.

    Returns:
        The names of removed stages.

    Raises:
        HPEditError: a stage is stale and `update` is False; it says what has changed.
    """
    stale = list(_stale(stages))
    if not stale:
        return []
    if not update and not all(stage.empty or _led_nowhere(stage, stages) for stage in stale):
        changes = [phrase for stage in stale for phrase in _changes(stage)]
        more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        first = f"{stale[0].name} ({'; '.join(changes[:SHOWN]) or 'an earlier stage is missing'}{more})"
        after = f" and after it {', '.join(stage.name for stage in stale[1:])}" if stale[1:] else ""
        raise HPEditError(
            f"{stages[0].out} was built with another recipe or input; stale: {first}{after}",
            hint="--update rebuilds these stages and keeps the others; or choose another output",
        )
    before()
    for stage in reversed(stale):
        stage.remove()
    return [stage.name for stage in stale]


def _stale(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Stages on disk that were made with other settings or inputs, or come after such a one.

    Keys count paths, since those of 0.2.0 do: where they differ, the records are compared without.
    """
    earlier = False
    for stage in stages:
        record = stage.record
        if record is None:
            earlier = earlier or any(later.record and later.record["key"] != later.key for later in stages)
        elif earlier or (record["key"] != stage.key and not _same_content(stage, record)):
            earlier = True
            yield stage


def _same_content(stage: Stage, record: Mapping[str, Any]) -> bool:
    """Whether a stage's record differs from the recipe at most in where inputs lie."""
    return _content(record["settings"]) == _content(stage.settings) and record["inputs"] == dict(stage.inputs)


def _content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by override name, of places only whether they are given."""
    return {name: bool(value) if PLACES.fullmatch(name) else value for name, value in _leaves(settings)}


def _led_nowhere(stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether the build ended at this stage or soon after because nothing was left, so that nothing is lost with it."""
    kinds = {steps.UNIQUE: "kept", steps.BALANCE: "candidates"}
    # Edits and scores cost too much to be made again unasked.
    kinds |= {steps.FILTER: "kept"} if stage.name in (steps.FILTER, steps.DATASET) else {}
    later = stages[list(stages).index(stage) :]
    ends = [one for one in stages if one.name in kinds and one.done and not one.counts().get(kinds[one.name])]
    return any(one in later or one.name < stage.name for one in ends)


def _changes(stage: Stage) -> Iterator[str]:
    """Differences between a stage on disk and the current recipe, apart from earlier stages."""
    record = stage.record
    assert record is not None
    old, new = dict(_leaves(record["settings"])), dict(_leaves(stage.settings))
    for name in sorted(old.keys() | new.keys()):
        moved = PLACES.fullmatch(name) and old.get(name) and new.get(name)
        if old.get(name) != new.get(name) and not moved:
            yield f"{name} was {json.dumps(old.get(name))}, is {json.dumps(new.get(name))}"
    for name in sorted(record["inputs"].keys() | stage.inputs.keys()):
        if record["inputs"].get(name) != stage.inputs.get(name) and name in record["inputs"] and name in stage.inputs:
            yield f"{name} has changed"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its override name: instructions.per_photo, sources[0].folder."""
    if isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{name}[{number}]")
    else:
        # Through JSON, where a tuple is a list.
        yield name, json.loads(json.dumps(value))


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
    if edits.editor is not None and given.editor is None:
        settled = settle_dtype(edits.editor, accelerator=on_accelerator(edits.editor.device))
        edits = edits.model_copy(update={"editor": settled})
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
        (steps.EDITS, {"edits": edits.shaping()}, _editor(edits, base, given.editor), ()),
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


def place_editor(section: EditorSection, base: Path) -> EditorSection:
    """The section with full paths of its folders; see `full_model_path`."""
    loras = tuple(str(base / path) for path in section.frozen_loras)
    return section.model_copy(update={"model": full_model_path(section.model, base), "frozen_loras": loras})


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

    placed = place_editor(section.opened, base)
    found = {"edits.editor": model_name(placed.model, placed.revision)}
    found |= {f"edits.editor.frozen_loras[{n}]": hash_path(path) for n, path in enumerate(placed.frozen_loras)}
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
