"""Which models of a recipe have to be downloaded, and whether they can be: editor, judges, judge servers. No torch."""

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
from hpedit.plan.editor_shape import EditorShape, editor_shape_of_folder, editor_shape_of_hub
from hpedit.plan.findings import Findings
from hpedit.plan.judge_memory import JudgeShape, JudgeUse, ScorerUse, judge_shape
from hpedit.store.shipped import editor_path, judge_path

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
SERVER_TIMEOUT: Final = 1.0
"""Seconds for a judge's server to answer."""


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes to download for one model."""

    name: str
    bytes: int
    source: str
    """Where the size is from: table, hub, or cache (nothing to download)."""


def find_editor(recipe: Recipe, findings: Findings, *, elsewhere: bool) -> tuple[EditorShape | None, list[Download]]:
    """The editor's sizes, and its download; None, with an error noted, where its sizes are unknown."""
    model, revision = recipe.editor.model, recipe.editor.revision
    settings = recipe.resolved()["editor"]
    with findings.collecting():
        # As hpedit.editors.locate.local_folder, whose module needs torch.
        folder = editor_path() if model == "mini" else Path(model)
        if folder.is_dir():
            return editor_shape_of_folder(model, folder, settings), []
        if model.startswith((".", "/", "~")) or model.count("/") != 1:
            hint = "check the path"
            raise HPEditError(f"editor.model {model} is neither a folder nor the id of a hub model (owner/name)", hint)
        _check_revision_pinned(model, revision, "editor.revision", findings)
        if cached := hub.cached_snapshot(model, revision):
            return editor_shape_of_folder(model, cached, settings), [Download(model, 0, "cache")]
        download = _download_of(model, revision, hub.PIPELINE_INDEX, findings, elsewhere=elsewhere)
        shape = editor_shape_of_hub(model, settings)
        return shape, [download or Download(model, shape.download, "table")]
    return None, []


def find_judges(
    scorers: Iterable[ScorerUse], findings: Findings, *, accelerator: bool, elsewhere: bool
) -> tuple[list[JudgeShape], list[Download]]:
    """In-process judges with their sizes, each once, and their downloads. Servers are asked which model they serve."""
    shapes: list[JudgeShape] = []
    downloads: list[Download] = []
    uses = {use.name: use for scorer in scorers for use in scorer.judges}
    for use in uses.values():
        if use.urls:
            _check_judge_servers(use, findings)
            continue
        with findings.collecting():
            local = judge_path() if use.name == "mini" else Path(use.name)
            folder = local if local.is_dir() else hub.cached_snapshot(use.name, use.revision, "config.json")
            shape = judge_shape(use.name, accelerator=accelerator, folder=folder)
            if folder is None:
                _check_revision_pinned(use.name, use.revision, "--revision at `hpedit scorer fit`", findings)
                download = _download_of(use.name, use.revision, "config.json", findings, elsewhere=elsewhere)
                downloads.append(download or Download(use.name, shape.download if shape else 0, "table"))
            if shape is None:
                findings.warning(f"the size of the judge {use.name} is unknown", hint="the plan leaves it out")
            else:
                shapes.append(shape)
    return shapes, downloads


def _check_revision_pinned(model: str, revision: str | None, key: str, findings: Findings) -> None:
    if revision is None or not COMMIT.fullmatch(revision):
        what = "no revision is pinned" if revision is None else f"revision {revision} is not a commit and can move"
        findings.warning(f"{model}: {what}", f"set {key} to a commit (40 hex digits): weights can change behind a name")


def _download_of(
    model: str, revision: str | None, file: str, findings: Findings, *, elsewhere: bool
) -> Download | None:
    try:
        found = hub.query_hub_model(model, revision, file)
    except hub.HubError as error:
        # This machine's network does not matter to the machine that will run it; a refused account does.
        say = findings.warning if elsewhere and error.network else findings.error
        say(error.message, error.hint)
        return None
    if revision is None and found.commit:
        findings.warning(f"{model} is at commit {found.commit} now", hint=f"pin it: revision {found.commit}")
    return Download(model, found.bytes, "hub")


def _check_judge_servers(use: JudgeUse, findings: Findings) -> None:
    for url in use.urls:
        try:
            with urlopen(f"{url.rstrip('/')}/models", timeout=SERVER_TIMEOUT) as answer:
                text = answer.read(1_000_000).decode("utf-8", "replace")
        except (URLError, OSError, ValueError) as error:
            if getattr(error, "code", None) not in (401, 403):  # these come from a running server that wants its key
                hint = f"start it before the run: vllm serve {use.model}"
                findings.warning(f"the judge's server {url} does not answer", hint)
            continue
        if f'"{use.model}"' not in text:
            hint = "check its /models, or fit the scorer again with a judge that it serves"
            findings.error(f"the judge's server {url} does not serve {use.model}", hint)
