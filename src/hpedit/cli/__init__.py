"""The command line: parse, call a stage, print. No logic, and nothing heavy is imported before a command runs.

Data goes to stdout, all else to stderr. What a user can mend ends with `error:` and `hint:` on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpedit import __version__
from hpedit.cli.bench import bench
from hpedit.cli.cases import cases
from hpedit.cli.common import PLAIN, Cfg, Seed, typed_command
from hpedit.cli.lora import lora as lora_group
from hpedit.cli.mini import mini
from hpedit.cli.plan import plan
from hpedit.cli.rate import rate
from hpedit.cli.ratings import ratings
from hpedit.cli.run import init, run, status
from hpedit.cli.scorer import scorer
from hpedit.errors import HPEditError

app = typer.Typer(help="Post-training of instruction-based image editors on human preference.", **PLAIN)
for group in (mini, rate, ratings, scorer, cases, bench, lora_group):
    app.add_typer(group, name=group.info.name)
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(init)


EXTRAS = {
    **dict.fromkeys(
        (
            "accelerate",
            "diffusers",
            "llguidance",
            "peft",
            "safetensors",
            "skimage",
            "tensorboard",
            "tokenizers",
            "torch",
            "transformers",
        ),
        "models",
    ),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), "rate"),
    **dict.fromkeys(("openai", "tenacity"), "api"),
    "huggingface_hub": "hub",
    "ray": "ray",
}
"""The extra that brings a package."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hpedit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Parse the options that come before a command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command continues it.")] = Path("runs/demo"),
    photos: Annotated[Path | None, typer.Option(help="Build the world on your own photographs instead.")] = None,
    objects: Annotated[
        Path | None, typer.Option(help="Folder of cut-outs (PNG with alpha) to stand in it instead of drawn shapes.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Run the whole loop on the embedded default.

    Ratings, scorer, cases, post-training, benchmark, report. The same command continues a run that was stopped.
    """
    from hpedit.experiments.demo import run_demo

    run_demo(out, photos, seed, objects=objects)


@app.command()
def edit(
    image: Annotated[Path, typer.Option(help="The picture to edit.")],
    instruction: Annotated[str, typer.Option(help="What to do with it.")],
    model: Annotated[str, typer.Option(help="mini, a folder, or a Hugging Face id.")] = "mini",
    lora: Annotated[Path | None, typer.Option(help="Folder of a trained LoRA.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the edit, as PNG.")] = Path("edit.png"),
    steps: Annotated[int, typer.Option(min=2, help="Sampling steps.")] = 8,
    cfg: Cfg = 1.0,
    seed: Seed = 0,
) -> None:
    """Edit one picture."""
    from hpedit.editors.edit_file import edit_file

    edit_file(image, instruction, out, model=model, lora=lora, steps=steps, seed=seed, cfg=cfg)
    typer.echo(str(out))


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, see the folder recipes/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key; can be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the recipe and print it resolved.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Refuse to start anew if there is nothing to continue.")
    ] = False,
) -> None:
    """Post-train an editor.

    The same command continues a run that was stopped. SIGINT and SIGTERM save first; a second one leaves at once.
    """
    from hpedit.config.reading import recipe_text
    from hpedit.config.recipe import load_recipe

    resolved = load_recipe(recipe, settings or [])
    if dry_run:
        typer.echo(recipe_text(resolved), nl=False)
        return
    if resume and not (Path(resolved.output) / "recipe.json").exists():
        raise HPEditError(f"{resolved.output} holds no run to continue", hint="leave out --resume to start one")
    from hpedit.rl.parallel.stopping import StopAsked
    from hpedit.rl.trainer import train as run_training

    try:
        result = run_training(resolved, resume=resume)
    except StopAsked as stop:
        sys.stderr.write(f"{stop.advice}: the same command continues\n")
        sys.stderr.flush()
        # All is saved. A judge's thread that still computes would upset the interpreter's own way out.
        os._exit(stop.code)
    if result.metrics:  # in rank 0 alone, where several processes train together
        typer.echo(resolved.output)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the pages; none takes report/ in the run.")] = None,
) -> None:
    """Write the pages of a training run."""
    from hpedit.report.train_page import write_train_page

    typer.echo(str(write_train_page(run, out, command=typed_command())))


def main() -> None:
    """Entry point: a mendable error is two lines and exit code 2, a closed pipe is no error at all."""
    try:
        app()
    except HPEditError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        raise SystemExit(2) from None
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
