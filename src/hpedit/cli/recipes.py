"""hpedit recipes: list, print and copy the recipes that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from hpedit.cli.common import AsJson, print_result
from hpedit.errors import HPEditError


def recipes(
    name: Annotated[str | None, Argument(help="Recipe to print; default: list all.")] = None,
    out: Annotated[Path | None, Option(help="Copy it to this file or folder instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes, print one, or copy it."""
    from hpedit.store.shipped_recipes import copy_recipe, find_recipe, shipped_recipes

    if name is None:
        if out is not None:
            raise HPEditError("--out copies one recipe", hint="name it: hpedit recipes NAME --out FILE")
        found = [{"name": one.name, "command": one.command, "about": one.about} for one in shipped_recipes()]
        print_result(found, as_json, _listed)
        return
    recipe = find_recipe(name)
    if out is not None:
        echo(str(copy_recipe(recipe, out)))
    elif as_json:
        raise HPEditError("--json lists the recipes", hint="leave it out to print one")
    else:
        echo(recipe.text(), nl=False)


def _listed(found: list[dict[str, str]]) -> str:
    wide = {key: max(len(one[key]) for one in found) for key in ("name", "command")}
    return "\n".join(
        f"{one['name']:<{wide['name']}}  {one['command']:<{wide['command']}}  {one['about']}".rstrip() for one in found
    )
