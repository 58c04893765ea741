"""hpedit run, status, init: the whole way from photographs to a better editor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import print_json, typed_command
from hpedit.cli.editor_options import EditorOptions, editor_settings, takes_editor
from hpedit.errors import HPEditError
from hpedit.progress import note


@takes_editor
def run(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe; `hpedit init DIR` writes one.")],
    editor: EditorOptions,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key; can be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and print it in full.")] = False,
    no_plan: Annotated[bool, typer.Option("--no-plan", help="Start without planning memory, disk and inputs.")] = False,
) -> None:
    """Run all stages from photographs to the report.

    Ratings, scorer, training cases, training, benchmark, report, in one folder. The same command continues a run that
    was stopped or killed; `hpedit status` and index.html in the folder show how far it is.
    """
    from hpedit.config.reading import recipe_text
    from hpedit.pipeline.recipe import load_run_recipe

    resolved = load_run_recipe(recipe, editor_settings(editor, "editor", settings))
    if dry_run:
        typer.echo(recipe_text(resolved), nl=False)
        return
    if not no_plan:
        from hpedit.pipeline.plan import plan_stages, refuse_mistakes

        # Timing a step would load the editor; what is planned here is whether it fits.
        refuse_mistakes(plan_stages(resolved, str(recipe), measure=False))
    from hpedit.pipeline.run import run_pipeline
    from hpedit.report.gains import gain_lines
    from hpedit.rl.parallel.stopping import StopAsked

    try:
        summary = run_pipeline(resolved, command=typed_command())
    except StopAsked as stop:
        sys.stderr.write(f"{stop.advice}: the same command continues\n")
        sys.stderr.flush()
        # All is saved. A judge's thread that still computes would upset the interpreter's own way out.
        os._exit(stop.code)
    typer.echo("\n".join([*gain_lines(summary), f"report: {resolved.path / 'report.html'}"]))


def status(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each stage of a run with state and time, and the next step."""
    from hpedit.pipeline.status import run_status, status_lines

    found = run_status(folder)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(status_lines(found)))


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new recipe; it is made.")],
    photos: Annotated[str | None, typer.Option(help="Folder of photographs.")] = None,
    editor: Annotated[str | None, typer.Option(help="mini, a folder, or a Hugging Face id.")] = None,
    judge: Annotated[str | None, typer.Option(help="mini, a folder, an id, or http://HOST:PORT/v1#MODEL.")] = None,
    ratings: Annotated[
        Literal["app", "file"], typer.Option(help="Rate in the browser, or bring a file of ratings.")
    ] = "app",
) -> None:
    """Write a commented recipe of `hpedit run`.

    Asks for what no option gives where there is a terminal to answer in.
    """
    from hpedit.pipeline.new import write_recipe

    path = write_recipe(
        folder,
        photos=photos or _answer("Folder of photographs", "photos", "--photos"),
        editor=editor or _answer("Editor", "Qwen/Qwen-Image-Edit-2509", "--editor"),
        judge=judge or _answer("Judge", "http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-32B-Instruct", "--judge"),
        ratings=ratings,
    )
    typer.echo(str(path))
    note(f"next: hpedit run {path}")


def _answer(question: str, default: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise HPEditError(f"{option} is missing", hint=f"for example {option} {default}")
    return str(typer.prompt(question, default=default, err=True))
