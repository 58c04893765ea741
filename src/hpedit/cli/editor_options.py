"""The options of every command that edits: the keys of a recipe's `editor` section."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from typer import Option

from hpedit.cli.common import Number

EDITOR_OPTIONS: dict[str, Any] = {
    "model": Annotated[str | None, Option("--model", "--editor", help="Editor: mini, a folder, or a hub id.")],
    "revision": Annotated[str | None, Option("--revision", help="Revision of an editor on the hub.")],
    "dtype": Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        Option("--dtype", help="Precision; auto: bfloat16 on an accelerator."),
    ],
    "device": Annotated[str | None, Option("--device", help="auto, cpu, mps, cuda or cuda:N.")],
    "resolution": Annotated[int | None, Option("--resolution", help="Side of a square edit, px.")],
    "source_area": Annotated[int | None, Option("--source-area", help="Area of a source as encoded, px^2.")],
    "condition_area": Annotated[
        int | None, Option("--condition-area", help="Area of a source as the text encoder sees it, px^2.")
    ],
    "guidance": Annotated[float | None, Number("--guidance", help="Embedded guidance (Kontext).")],
    "base": Annotated[
        Literal["full", "8bit", "4bit"] | None, Option("--base", help="Form of the weights; 8bit and 4bit need a GPU.")
    ],
    "offload": Annotated[
        Literal["none", "blocks"] | None, Option("--offload", help="blocks keeps the weights in main memory.")
    ],
    "frozen_loras": Annotated[list[str] | None, Option("--frozen-lora", help="LoRA merged into the base; repeatable.")],
}
"""Key of the `editor` section -> its option; what is not given is left to the recipe, or to the section's default."""


EditorOptions = dict[str, Any]
"""The options that were given, by the section's keys."""


def takes_editor(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it gets what was given as one mapping, `editor`, by the section's keys."""
    own = inspect.signature(command, eval_str=True)
    parameters = [one for name, one in own.parameters.items() if name != "editor"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in EDITOR_OPTIONS.items()
    ]
    kept = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        editor = {name: values.pop(name) for name in EDITOR_OPTIONS}
        command(**values, editor={name: value for name, value in editor.items() if value not in (None, [])})

    wrapped.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*kept, *more)}
    return wrapped


def editor_settings(editor: EditorOptions, section: str, settings: Sequence[str] | None) -> list[str]:
    """Overrides of a recipe: what was given as options for its `section`, after those of --set."""
    return [*(settings or []), *(f"{section}.{name}={json.dumps(value)}" for name, value in editor.items())]
