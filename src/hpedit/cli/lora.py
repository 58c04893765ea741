"""hpedit lora: what becomes of a trained LoRA elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpedit.cli.common import PLAIN

lora = typer.Typer(name="lora", help="What becomes of a trained LoRA elsewhere.", **PLAIN)


@lora.callback()
def _group() -> None:
    """Keep `export` a command by name while it is the only one."""


@lora.command("export")
def lora_export(
    source: Annotated[Path, typer.Argument(metavar="LORA", help="Folder of a trained LoRA, or a safetensors file.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    form: Annotated[Literal["diffusers", "comfyui"], typer.Option("--format", help="Whose names.")] = "comfyui",
    pipeline: Annotated[
        str | None, typer.Option(help="Class of the base's pipeline, where the LoRA does not say.")
    ] = None,
) -> None:
    """Write a LoRA in the names of ComfyUI or diffusers; the base is not needed."""
    from hpedit.editors.lora_files import export_lora

    export_lora(source, out, form, pipeline)
    typer.echo(str(out))
