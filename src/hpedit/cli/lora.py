"""hpedit lora: convert a trained LoRA for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer, echo

from hpedit.cli.common import PLAIN

lora = Typer(name="lora", help="Convert a trained LoRA for other tools (ComfyUI).", **PLAIN)


@lora.callback()
def _group() -> None:
    """Keep `export` a command by name while it is the only one."""


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
