"""`hpedit init`: write a commented recipe of `hpedit run`."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from hpedit.editors.usual import usual_by_name
from hpedit.errors import HPEditError
from hpedit.pipeline.recipe import load_run_recipe
from hpedit.store.atomic import atomic_write

TEMPLATE = Path(__file__).parent / "new.yaml.jinja"
NAME = "recipe.yaml"


def write_recipe(folder: Path, *, photos: str, editor: str, judge: str, ratings: str) -> Path:
    """Write recipe.yaml into a folder; returns its path.

    Args:
        folder: Made if it is not there.
        photos: Folder of photographs.
        editor: mini, a folder, or a hub id.
        judge: mini, a folder, a hub id, or http://HOST:PORT/v1#MODEL.
        ratings: app or file.

    Raises:
        HPEditError: there is a recipe already, or a value that no recipe can have.
    """
    path = folder / NAME
    if path.exists():
        raise HPEditError(f"{path} is there already", hint="name another folder, or edit the recipe")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    quoted = {"photos": _quoted(photos), "editor": _quoted(editor), "judge": _quoted(judge)}
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=str(path), output=_quoted(str(folder / "run")), ratings=ratings, mini=editor == "mini",
        steps=usual_by_name(editor).steps,
        **quoted,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text)
    except OSError as error:
        raise HPEditError(f"{path} cannot be written: {error.strerror}", hint="choose another folder") from error
    try:
        load_run_recipe(path)
    except HPEditError:
        path.unlink()
        raise
    return path


def _quoted(text: str) -> str:
    """A text as a YAML scalar: in quotes where it could be read as something else."""
    plain = (
        text and (text[0].isalnum() or text[0] in "/.") and all(letter.isalnum() or letter in "/._-" for letter in text)
    )
    looks_like_a_number = text.replace(".", "").isdigit() or text.lower() in ("true", "false", "null", "yes", "no")
    return text if plain and not looks_like_a_number else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
