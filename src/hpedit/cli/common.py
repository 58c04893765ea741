"""What the command groups share: plain help, common options, output."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated, Any

import typer

# Plain help: rich takes a third of the time in which --help should answer.
PLAIN: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

Cfg = Annotated[
    float, typer.Option("--cfg", min=1.0, max=20.0, help="Classifier-free guidance; 1 is off, and twice as fast.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all randomness.")]


def print_json(value: Any) -> None:
    """Write data to stdout; NaN is an error, since JSON has none."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def typed_command() -> str:
    """The command that is running, as it can be typed again."""
    return shlex.join(["hpedit", *sys.argv[1:]])
