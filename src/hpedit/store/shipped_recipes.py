"""The recipes that come with the package: `recipes/` of a source checkout, `hpedit/recipes` in a wheel. No torch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write

PACKAGE = Path(__file__).parents[1]
DEMO = PACKAGE / "pipeline" / "demo.yaml"
"""The recipe of `hpedit demo`, which is in the package itself."""


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe that comes with the package."""

    name: str
    """Of its file, without .yaml."""
    path: Path
    about: str
    """The first sentence of its leading comment."""

    @property
    def command(self) -> str:
        """The command that it is for; empty for a script."""
        keys = set(re.findall(r"^(\w+):", self.text(), re.MULTILINE))
        if self.path.suffix != ".yaml":
            return ""
        if {"judge", "cases"} <= keys:
            return "run"
        return "cases build" if "sources" in keys else "train"

    def text(self) -> str:
        """The recipe, comments included."""
        return self.path.read_text(encoding="utf-8")


def recipes_folder(package: Path = PACKAGE) -> Path:
    """The folder of the shipped recipes: a source checkout's own comes first, as edits there should count.

    Args:
        package: Folder of the package hpedit.

    Raises:
        HPEditError: neither place has recipes.
    """
    checkout = package.parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "recipes").is_dir():
        return checkout / "recipes"
    if (package / "recipes").is_dir():
        return package / "recipes"
    raise HPEditError(f"the recipes are not in {package / 'recipes'}", hint="reinstall the package")


def shipped_recipes(package: Path = PACKAGE) -> list[ShippedRecipe]:
    """All recipes that come with the package, by name."""
    folder = recipes_folder(package)
    paths = [DEMO, *(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))]
    found = [ShippedRecipe(path.name.removesuffix(".yaml"), path, first_sentence(path)) for path in paths]
    return sorted(found, key=lambda recipe: recipe.name)


def find_recipe(name: str, package: Path = PACKAGE) -> ShippedRecipe:
    """The shipped recipe of a name, with or without .yaml; HPEditError with the nearest name if there is none."""
    known = {recipe.name: recipe for recipe in shipped_recipes(package)}
    wanted = name.removesuffix(".yaml")
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`hpedit recipes` lists them"
        raise HPEditError(f"no recipe is called {name!r}", hint=hint)
    return known[wanted]


def copy_recipe(recipe: ShippedRecipe, out: Path) -> Path:
    """Copy a recipe to a file, or into a folder; returns the file.

    Raises:
        HPEditError: the file exists, or can't be written.
    """
    path = out / recipe.path.name if out.is_dir() else out
    if path.exists():
        raise HPEditError(f"{path} exists", hint="name another file; nothing is overwritten")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, recipe.text())
    except OSError as error:
        raise HPEditError(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
    return path


def first_sentence(path: Path) -> str:
    """What a file's leading comment says first, up to a colon or full stop, without a shebang; empty if none."""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#!"):
            continue
        if not line.startswith("#"):
            break
        words += line.lstrip("#").split()
    first, *rest = re.split(r"(?<=[.:;])\s", " ".join(words), maxsplit=2)
    # A title before a colon, "`hpedit demo`: ...", says nothing alone.
    if rest and first.endswith(":") and len(first.split()) < 4:
        first = f"{first} {rest[0]}"
    return first.rstrip(".:;")
