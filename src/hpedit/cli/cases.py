"""hpedit cases: what an editor is trained and measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN, print_json

cases = typer.Typer(name="cases", help="What an editor is trained and measured on.", **PLAIN)


@cases.command("build")
def cases_build(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, see recipes/cases_*.yaml and docs/cases.md.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key; can be repeated.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or a Ray cluster: the result is the same.")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, for ray; all CPUs if not given.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make the stages anew that the recipe or its inputs have outdated.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and print it resolved.")] = False,
) -> None:
    """Build training cases from photographs.

    Instructions are written or taken as given, balanced over tasks and categories, edited by the base editor, and
    filtered to the hard ones. The same command continues a build that was stopped. Prints the counts as JSON.
    """
    from hpedit.cases.recipe import CasesRecipe
    from hpedit.config.reading import read_recipe, recipe_text

    resolved = read_recipe(recipe, CasesRecipe, settings or [])
    if dry_run:
        typer.echo(recipe_text(resolved), nl=False)
        return
    from hpedit.cases.build import run_build

    print_json(run_build(resolved, engine=engine, workers=workers, update=update))


@cases.command("push")
def cases_push(
    folder: Annotated[Path, typer.Argument(help="Output of `hpedit cases build`, or the dataset in it.")],
    repo: Annotated[str, typer.Option(metavar="ORG/NAME", help="The dataset's name on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="If it is made: visible to its owners alone.")] = False,
) -> None:
    """Bring the dataset of a build to a hub.

    The same command continues a push that was stopped, and does nothing where the hub has everything. It takes the
    token of HF_TOKEN or of `hf auth login`. Prints what was done as JSON.
    """
    from hpedit.cases.dataset.push import push_dataset

    print_json(push_dataset(folder, repo, private=private).as_dict())
