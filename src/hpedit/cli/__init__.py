"""The command line `hpedit`: parse, call a stage, print. No logic, and no heavy import before a command runs.

Data goes to stdout, all else to stderr. Errors of the user end with `error:` and `hint:` on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer, echo

from hpedit import __version__
from hpedit.cli.bench import bench
from hpedit.cli.cases import cases
from hpedit.cli.common import PLAIN, Cfg, DryRun, Objects, Photos, SeedOption, Settings, Steps, typed_command
from hpedit.cli.editor_options import EditorOptions, editor_settings, takes_editor
from hpedit.cli.faults import explained
from hpedit.cli.lora import lora as lora_group
from hpedit.cli.mini import mini
from hpedit.cli.plan import plan
from hpedit.cli.rate import rate
from hpedit.cli.ratings import ratings
from hpedit.cli.recipes import recipes
from hpedit.cli.run import init, run, status
from hpedit.cli.scorer import scorer
from hpedit.errors import HPEditError

app = Typer(help="Post-train instruction-based image editors on human preferences.", **PLAIN | {"add_completion": True})
for group in (mini, rate, ratings, scorer, cases, bench, lora_group):
    app.add_typer(group, name=group.info.name)
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(init)
app.command()(recipes)


_EXTRA_PACKAGES = {
    "models": "accelerate diffusers llguidance peft safetensors skimage tensorboard tokenizers torch transformers",
    "rate": "fastapi starlette uvicorn",
    "api": "openai tenacity",
    "hub": "huggingface_hub",
    "ray": "ray",
}
EXTRAS = {package: extra for extra, packages in _EXTRA_PACKAGES.items() for package in packages.split()}
"""The extra of hp-edit that installs a package."""


def _print_version(asked: bool) -> None:
    if asked:
        echo(f"hpedit {__version__}")
        raise Exit


@app.callback()
def _root(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Parse the options that come before a command."""


@app.command()
def demo(
    out: Annotated[Path, Option(help="Folder of the run; an existing run is resumed.")] = Path("runs/demo"),
    photos: Photos = None,
    objects: Objects = None,
    seed: SeedOption = 0,
) -> None:
    """Run the whole loop on the built-in mini world.

    Ratings, scorer, cases, post-training, benchmark, report. Run the same command again to resume.
    """
    from hpedit.experiments.demo import run_demo

    run_demo(out, photos, seed, objects=objects)


@app.command()
@takes_editor
def edit(
    image: Annotated[Path, Option(help="Image to edit.")],
    instruction: Annotated[str, Option(help="Edit instruction.")],
    editor: EditorOptions,
    lora: Annotated[Path | None, Option(help="Folder of a trained LoRA.")] = None,
    out: Annotated[Path, Option(help="PNG file to write.")] = Path("edit.png"),
    steps: Steps = None,
    cfg: Cfg = None,
    seed: SeedOption = 0,
) -> None:
    """Edit one image."""
    from hpedit.config.editor import EditorSection
    from hpedit.config.reading import read_options
    from hpedit.editors.edit_file import edit_file

    section = read_options(EditorSection, editor)
    edit_file(image, instruction, out, model=section, lora=lora, steps=steps, seed=seed, cfg=cfg)
    echo(str(out))


@app.command()
@takes_editor
def train(
    recipe: Annotated[Path, Argument(help="YAML recipe; `hpedit recipes` lists some.")],
    editor: EditorOptions,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Annotated[bool, Option("--resume", help="Fail if there is no run to resume.")] = False,
) -> None:
    """Post-train an editor with reinforcement learning or DPO.

    Run the same command again to resume. SIGINT and SIGTERM save a checkpoint first; a second one stops at once.
    """
    from hpedit.config.reading import recipe_text
    from hpedit.config.recipe import load_recipe

    resolved = load_recipe(recipe, editor_settings(editor, "editor", settings))
    if dry_run:
        echo(recipe_text(resolved), nl=False)
        return
    if resume and not (Path(resolved.output) / "recipe.json").exists():
        raise HPEditError(f"{resolved.output} has no run to resume", hint="leave out --resume to start one")
    from hpedit.rl.parallel.stopping import StopAsked
    from hpedit.rl.trainer import train as run_training

    try:
        result = run_training(resolved, resume=resume)
    except StopAsked as stop:
        sys.stderr.write(f"{stop.advice}: the same command continues\n")
        sys.stderr.flush()
        # Everything is saved. A judge's thread that is still computing would crash the interpreter's normal exit.
        os._exit(stop.code)
    if result.metrics:  # only in rank 0 of a distributed run
        echo(resolved.output)


@app.command()
def report(
    run: Annotated[Path, Argument(help="Folder of a training run, finished or not.")],
    out: Annotated[Path | None, Option(help="Folder for the report; default: report/ in RUN.")] = None,
) -> None:
    """Write the HTML report of a training run."""
    from hpedit.report.train_page import write_train_page

    echo(str(write_train_page(run, out, command=typed_command())))


def main() -> None:
    """Entry point: an error of the user is two lines and exit code 2; a closed pipe is not an error."""
    try:
        app(prog_name="hpedit")  # as `python -m hpedit`, too: completion and usage name the command
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(f"error: this needs {error.name}, which is not installed\n")
        sys.stderr.write(f"hint: pip install 'hp-edit[{extra}]'\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped: the same command continues\n")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        said = explained(error)
        if said is None:
            raise
        sys.stderr.write(f"error: {said.message}\n")
        if said.hint:
            sys.stderr.write(f"hint: {said.hint}\n")
        raise SystemExit(2) from None
