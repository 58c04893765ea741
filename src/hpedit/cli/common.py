"""What the command groups share: plain help, common options, output."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from typer import BadParameter, Option, echo

R = TypeVar("R")

# Plain help: rich takes a third of the time in which --help should answer.
PLAIN: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

MOST_LEASE = 30 * 24 * 3600
"""Seconds of the longest lease: a month."""


def finite(value: float | None) -> float | None:
    """Callback of options: refuse NaN and infinity, which pass every comparison with a bound or none."""
    if value is not None and not math.isfinite(value):
        raise BadParameter(f"{value} is not a finite number")
    return value


Number = partial(Option, callback=finite)
"""An option whose value is a finite number."""
Settings = Annotated[list[str] | None, Option("--set", metavar="KEY.PATH=VALUE", help="Set a recipe key; repeatable.")]
DryRun = Annotated[bool, Option("--dry-run", help="Check the recipe, print it with all defaults, and exit.")]
Steps = Annotated[int | None, Option("--steps", min=2, help="Number of sampling steps; default: the model's own.")]
Cfg = Annotated[
    float | None,
    Number("--cfg", min=1.0, max=20.0, help="Classifier-free guidance; 1 is off; default: the model's own."),
]
SeedOption = Annotated[int, Option("--seed", min=0, max=2**63 - 1, help="Random seed.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
Photos = Annotated[Path | None, Option(help="Folder of photographs to use instead of the mini world's scenes.")]
Objects = Annotated[Path | None, Option(help="Folder of cut-outs (PNG with alpha) to use instead of drawn shapes.")]
Host = Annotated[str, Option(help="Address to listen on; any other than this machine's own needs a token.")]
Port = Annotated[int, Option(min=0, max=65535, help="Port; 0 picks a free one.")]
RateToken = Annotated[str | None, Option(envvar="HPEDIT_RATE_TOKEN", help="Access token; safer from the environment.")]
AllowHost = Annotated[list[str] | None, Option(help="Further host name, e.g. of a reverse proxy; repeatable.")]


def print_json(value: Any) -> None:
    """Write data to stdout; NaN is an error, since JSON has none."""
    echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def print_result(result: R, as_json: bool, render: Callable[[R], str]) -> None:
    """Write a result to stdout, as JSON or as text."""
    if as_json:
        print_json(result)
    else:
        echo(render(result))


def typed_command() -> str:
    """The command that is running, as it can be typed again."""
    return shlex.join(["hpedit", *sys.argv[1:]])
