"""hpedit cases: build training cases, and upload them as a dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import PLAIN, AsJson, DryRun, Settings, print_result
from hpedit.cli.editor_options import EditorOptions, editor_settings, takes_editor
from hpedit.cli.figures import figures_text

cases = Typer(name="cases", help="Build training cases, and upload them as a dataset.", **PLAIN)


@cases.command("build")
@takes_editor
def cases_build(
    recipe: Annotated[Path, Argument(help="YAML recipe, see recipes/cases_*.yaml and docs/cases.md.")],
    editor: EditorOptions,
    settings: Settings = None,
    engine: Annotated[Literal["local", "ray"], Option(help="This process or Ray; same results.")] = "local",
    workers: Annotated[int | None, Option(min=1, help="Number of Ray processes; default all CPUs.")] = None,
    update: Annotated[bool, Option("--update", help="Redo stages whose recipe or inputs have changed.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build training cases from photographs.

    Instructions are generated or read, balanced over tasks and categories, edited by the base editor, and filtered to
    the hard ones. Run the same command again to resume. Prints counts.
    """
    from hpedit.cases.recipe import CasesRecipe
    from hpedit.config.reading import read_recipe, recipe_text

    resolved = read_recipe(recipe, CasesRecipe, editor_settings(editor, "edits.editor", settings))
    if dry_run:
        echo(recipe_text(resolved), nl=False)
        return
    from hpedit.cases.build import run_build

    found = run_build(resolved, engine=engine, workers=workers, update=update)
    print_result(found, as_json, partial(figures_text, leave_out=["stages"]))


@cases.command("push")
def cases_push(
    folder: Annotated[Path, Argument(help="Output of `hpedit cases build`, or the dataset in it.")],
    repo: Annotated[str, Option(metavar="ORG/NAME", help="Name of the dataset on the hub.")],
    private: Annotated[bool, Option("--private", help="Make a new dataset private.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload the dataset of a build to the Hugging Face Hub.

    Run the same command again to resume; files that the hub already has are skipped. Uses the token of HF_TOKEN or of
    `hf auth login`. Prints what was done.
    """
    from hpedit.cases.dataset.push import push_dataset

    print_result(push_dataset(folder, repo, private=private).as_dict(), as_json, figures_text)
