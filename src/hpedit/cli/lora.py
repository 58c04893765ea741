"""hpedit lora: convert a trained LoRA for other tools, describe and publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import PLAIN, AsJson, print_result
from hpedit.cli.figures import figures_text

lora = Typer(name="lora", help="Convert, describe and publish a trained LoRA.", **PLAIN)


Run = Annotated[Path, Argument(help="Folder of `hpedit train` or `hpedit run`.")]
Licence = Annotated[str | None, Option("--license", help="License of the LoRA, e.g. apache-2.0; default: none.")]


@lora.command("export")
def lora_export(
    source: Annotated[Path, Argument(metavar="LORA", help="Folder of a trained LoRA, or a safetensors file.")],
    out: Annotated[Path, Option(help="The .safetensors file to write.")],
    form: Annotated[Literal["diffusers", "comfyui"], Option("--format", help="Naming scheme.")] = "comfyui",
    pipeline: Annotated[str | None, Option(help="Pipeline class of the base, if the LoRA does not name it.")] = None,
) -> None:
    """Export a LoRA with the key names of ComfyUI or diffusers.

    The base model is not needed.
    """
    from hpedit.editors.lora_files import export_lora

    export_lora(source, out, form, pipeline)
    echo(str(out))


@lora.command("card")
def lora_card(
    run: Run,
    out: Annotated[Path | None, Option(help="File to write; default: README.md in RUN.")] = None,
    licence: Licence = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a card that is there.")] = False,
) -> None:
    """Write the model card of a run's LoRA.

    Base, data, figures with intervals, alarms, and how to load it in diffusers. Edit it as you like before
    `hpedit lora push`.
    """
    from hpedit.report.lora_card import write_card

    echo(str(write_card(run, out, licence=licence, overwrite=overwrite)))


@lora.command("push")
def lora_push(
    run: Run,
    repo: Annotated[str, Argument(metavar="ORG/NAME", help="Name of the model on the hub.")],
    licence: Licence = None,
    private: Annotated[bool, Option("--private", help="Make a new repository private.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a run's LoRA and its card to the Hugging Face Hub.

    Takes README.md of RUN if `hpedit lora card` wrote it. Uses the token of HF_TOKEN or of `hf auth login`.
    """
    from hpedit.report.lora_push import push_lora

    print_result(push_lora(run, repo, licence=licence, private=private), as_json, figures_text)
