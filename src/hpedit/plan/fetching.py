"""Which models of a recipe have to be fetched, and whether they can be. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from hpedit.config.recipe import Recipe
from hpedit.errors import HPEditError
from hpedit.plan import hub
from hpedit.plan.judges import JudgeShape, JudgeUse, ScorerUse, shape_of_judge
from hpedit.plan.problems import Problems
from hpedit.plan.shape import EditorShape, shape_of_folder, shape_of_hub

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
PATIENCE: Final = 1.0
"""Seconds for a judge's server to answer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """bytes to be downloaded for one model."""

    name: str
    bytes: int
    source: str
    """table, hub, or cache."""


def find_editor(recipe: Recipe, problems: Problems, *, elsewhere: bool) -> tuple[EditorShape | None, list[Fetched]]:
    """The editor's sizes, and what of it has to be fetched; None, with a problem noted, where nothing is known."""
    model, revision = recipe.editor.model, recipe.editor.revision
    settings = recipe.resolved()["editor"]
    with problems.collecting():
        folder = _folder_of_editor(model)
        if folder is not None:
            return shape_of_folder(model, folder, settings), []
        if model.startswith((".", "/", "~")) or model.count("/") != 1:
            raise HPEditError(
                f"editor.model {model} is neither a folder nor the id of a hub model (owner/name)",
                hint="check the path",
            )
        _check_pinned(model, revision, "editor.revision", problems)
        cached = hub.snapshot(model, revision)
        if cached is not None:
            return shape_of_folder(model, cached, settings), [Fetched(model, 0, "cache")]
        fetched = _ask(model, revision, hub.OFTEN_TRIED, problems, elsewhere=elsewhere)
        shape = shape_of_hub(model, settings)
        return shape, [fetched or Fetched(model, shape.download, "table")]
    return None, []


def find_judges(
    scorers: Iterable[ScorerUse], problems: Problems, *, accelerator: bool, elsewhere: bool
) -> tuple[list[JudgeShape], list[Fetched]]:
    """Judges in process with their sizes, each once, and what has to be fetched. Servers are asked for their models."""
    shapes: list[JudgeShape] = []
    fetched: list[Fetched] = []
    uses = {use.name: use for scorer in scorers for use in scorer.judges}
    for use in uses.values():
        if use.urls:
            _check_servers(use, problems)
            continue
        with problems.collecting():
            folder = _folder_of(use)
            shape = shape_of_judge(use.name, accelerator=accelerator, folder=folder)
            if folder is None:
                _check_pinned(use.name, use.revision, "--revision at `hpedit scorer fit`", problems)
                asked = _ask(use.name, use.revision, "config.json", problems, elsewhere=elsewhere)
                fetched.append(asked or Fetched(use.name, shape.download if shape else 0, "table"))
            if shape is None:
                problems.warning(f"nothing is known of the size of the judge {use.name}", hint="it is left out")
            else:
                shapes.append(shape)
    return shapes, fetched


def _folder_of_editor(model: str) -> Path | None:
    """As `hpedit.editors.locate.local_folder`, whose module needs torch."""
    if model == "mini":
        from hpedit.store.shipped import editor_path

        return editor_path()
    return Path(model) if Path(model).is_dir() else None


def _folder_of(use: JudgeUse) -> Path | None:
    if use.name == "mini":
        from hpedit.store.shipped import judge_path

        return judge_path()
    return Path(use.name) if Path(use.name).is_dir() else hub.snapshot(use.name, use.revision)


def _check_pinned(model: str, revision: str | None, where: str, problems: Problems) -> None:
    if revision is None or not COMMIT.fullmatch(revision):
        what = "no revision is" if revision is None else f"revision {revision} is no commit:"
        problems.warning(
            f"{model}: {what} pinned" if revision is None else f"{model}: {what} it can move",
            hint=f"set {where} to a commit (40 hex digits): weights can change behind a name",
        )


def _ask(model: str, revision: str | None, probe: str, problems: Problems, *, elsewhere: bool) -> Fetched | None:
    try:
        files = hub.ask(model, revision, probe)
    except hub.HubTrouble as trouble:
        # What this machine's network lacks does not matter to another machine; a refused account does.
        say = problems.warning if elsewhere and trouble.ours else problems.error
        say(trouble.message, trouble.hint)
        return None
    if revision is None and files.commit:
        problems.warning(f"{model} is at commit {files.commit} now", hint=f"pin it: revision {files.commit}")
    return Fetched(model, files.bytes, "hub")


def _check_servers(use: JudgeUse, problems: Problems) -> None:
    for url in use.urls:
        try:
            with urlopen(f"{url.rstrip('/')}/models", timeout=PATIENCE) as answer:
                text = answer.read(1_000_000).decode("utf-8", "replace")
        except (URLError, OSError, ValueError) as error:
            if getattr(error, "code", None) in (401, 403):  # it lives, and wants its key
                continue
            problems.warning(
                f"the judge's server {url} does not answer", hint=f"start it before the run: vllm serve {use.model}"
            )
            continue
        if f'"{use.model}"' not in text:
            problems.error(
                f"the judge's server {url} does not serve {use.model}",
                hint="look at its /models, or fit the scorer anew",
            )
