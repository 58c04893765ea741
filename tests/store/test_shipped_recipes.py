"""Shipped recipes: found in a source checkout and in an installed package, listed, printed, copied."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.config.reading import read_recipe
from hpedit.errors import HPEditError
from hpedit.store.shipped_recipes import copy_recipe, find_recipe, recipes_folder, shipped_recipes

ROOT = Path(__file__).parents[2]


def hpedit(*words: str) -> str:
    result = CliRunner().invoke(app, ["recipes", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A package as a wheel lays it out, with one recipe."""
    package = tmp_path / "site-packages" / "hpedit"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "small.yaml").write_text("# A small run. And more.\noutput: x\n")
    return package


def test_a_checkouts_own_recipes_come_first() -> None:
    assert recipes_folder() == ROOT / "recipes"
    names = {recipe.name for recipe in shipped_recipes()}
    assert names == {path.name.removesuffix(".yaml") for path in (ROOT / "recipes").iterdir()} | {"demo"}


def test_an_installed_package_has_them_inside(installed: Path) -> None:
    assert recipes_folder(installed) == installed / "recipes"
    assert find_recipe("small.yaml", installed).about == "A small run"
    (installed / "recipes" / "small.yaml").unlink()
    (installed / "recipes").rmdir()
    with pytest.raises(HPEditError, match="recipes are not in"):
        recipes_folder(installed)


def test_the_wheel_gets_recipes_and_types() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"recipes": "hpedit/recipes"}
    assert wheel["packages"] == ["src/hpedit"]
    assert (ROOT / "src" / "hpedit" / "py.typed").is_file()


def test_each_has_one_line_and_its_command() -> None:
    found = {one["name"]: one for one in json.loads(hpedit("--json"))}
    assert all(one["about"] and "\n" not in one["about"] for one in found.values())
    assert (found["mini"]["command"], found["cases_photos"]["command"]) == ("train", "cases build")
    assert found["demo"]["command"] == "run"
    lines = hpedit().splitlines()
    assert len(lines) == len(found)
    assert any(line.startswith("mini ") and "Flow-GRPO on the mini editor" in line for line in lines)


def test_every_recipe_loads_as_that_of_its_command() -> None:
    from hpedit.cases.recipe import CasesRecipe
    from hpedit.config.recipe import Recipe
    from hpedit.pipeline.recipe import RunRecipe

    kinds = {"train": Recipe, "cases build": CasesRecipe, "run": RunRecipe}
    recipes = [recipe for recipe in shipped_recipes() if recipe.command]
    assert len(recipes) > 5
    for recipe in recipes:
        read_recipe(recipe.path, kinds[recipe.command], [])


def test_one_is_printed_or_copied_whole(tmp_path: Path) -> None:
    text = (ROOT / "recipes" / "mini.yaml").read_text()
    assert hpedit("mini") == text
    assert hpedit("mini", "--out", str(tmp_path / "new" / "mine.yaml")).strip() == str(tmp_path / "new" / "mine.yaml")
    assert (tmp_path / "new" / "mine.yaml").read_text() == text
    assert copy_recipe(find_recipe("mini"), tmp_path) == tmp_path / "mini.yaml"
    with pytest.raises(HPEditError, match="exists"):
        copy_recipe(find_recipe("mini"), tmp_path)


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(HPEditError, match="no recipe is called 'mni'") as error:
        find_recipe("mni")
    assert error.value.hint == "did you mean mini?"
