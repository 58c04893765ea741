"""What the command groups share: plain help, common options, output."""

from __future__ import annotations

import json
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

Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all randomness.")]


def print_json(value: Any) -> None:
    """Write data to stdout; NaN is an error, since JSON has none."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def estimate(value: dict[str, Any]) -> str:
    """A value with its 95 % interval; n/a for what is undefined."""
    numbers = (value["value"], *value["ci95"])
    if None in numbers:
        return "n/a" if value["value"] is None else f"{value['value']:.2f}"
    return "{:.2f} ({:.2f} to {:.2f})".format(*numbers)
