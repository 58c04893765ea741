"""What the command groups share: plain help, common options, output."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
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

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a recipe key; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the recipe, print it with all defaults, and exit.")]
Cfg = Annotated[
    float, typer.Option("--cfg", min=1.0, max=20.0, help="Classifier-free guidance scale; 1 is off and twice as fast.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Random seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Photos = Annotated[Path | None, typer.Option(help="Folder of photographs to use instead of the mini world's scenes.")]
Objects = Annotated[
    Path | None, typer.Option(help="Folder of cut-outs (PNG with alpha) to use instead of drawn shapes.")
]
Host = Annotated[str, typer.Option(help="Address to listen on; any other than this machine's own needs a token.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")]
RateToken = Annotated[
    str | None,
    typer.Option(envvar="HPEDIT_RATE_TOKEN", help="Access token for the page; safer in the environment variable."),
]
AllowHost = Annotated[
    list[str] | None, typer.Option(help="Another host name of the server, e.g. of a reverse proxy; repeatable.")
]


def print_json(value: Any) -> None:
    """Write data to stdout; NaN is an error, since JSON has none."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def typed_command() -> str:
    """The command that is running, as it can be typed again."""
    return shlex.join(["hpedit", *sys.argv[1:]])
