"""Bad inputs at every command and parameter: each must end in an error with a hint, none in a traceback.

    python tests/bad_inputs.py [FOLDER]

The commands and their parameters are read from the command line itself, so that a new one is tried without a change
here. Every path gets files of each hostile kind, every number the extremes. Run in one process: 700 starts of Python
would take an hour.
"""

from __future__ import annotations

import importlib
import io
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from hpedit.cli import app, main

SECONDS = 4
"""A command that still runs after these took the value for a good one, as an output folder may be."""
HEAVY = ("torch", "transformers", "peft", "diffusers", "sympy", "pandas", "sklearn", "skimage", "hpedit.editors.load")
SERVE = {("rate", "serve"), ("bench", "check"), ("scorer", "serve"), ("mini", "build"), ("demo",)}
"""Commands that would do real work, and are tried with bad paths alone."""

FILES: dict[str, bytes] = {
    "empty": b"",
    "brackets": b"[" * 100_000,
    "object-brackets": b'{"a":' * 50_000,
    "digits": b'{"id": ' + b"9" * 5_000 + b"}\n",
    "half-pair": b'{"id": "\\udfff", "edit_id": "\\udfff", "rater": "r", "score": 1, "stages": []}\n',
    "list": b"[1, null, []]\n",
    "null": b"null\n",
    "text": b"once upon a time\n",
    "binary": bytes(range(256)) * 20,
    "table": b"id,edit_id,rater,score\n1,e1,r,1e999\n2,\xff,r,3\n",
    "parquet": b"PAR1" + bytes(200) + b"PAR1",
    "sqlite": b"SQLite format 3\0" + bytes(4000),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "weights": (10**9).to_bytes(8, "little") + b"{}",
}
SUFFIXES = {
    "brackets": (".json", ".yaml"), "object-brackets": (".json", ".jsonl"), "digits": (".json", ".jsonl", ".yaml"),
    "half-pair": (".json", ".jsonl"), "list": (".json", ".jsonl", ".yaml"), "null": (".json", ".yaml"),
    "text": (".yaml", ".csv", ".json"), "binary": (".json", ".csv", ".parquet", ".sqlite", ".png", ".yaml"),
    "table": (".csv",), "empty": (".json", ".csv", ".parquet", ".sqlite", ".png", ".yaml", ".safetensors"),
    "parquet": (".parquet",), "sqlite": (".sqlite",), "picture": (".png",), "weights": (".safetensors",),
}  # fmt: skip
NUMBERS = ("nan", "inf", "-1", "99999999999999999999999", "1e999")


class _StillRunsError(BaseException):
    """The time is over; no Exception, which a command could catch."""


def bad_paths(folder: Path) -> list[Path]:
    """Hostile files, folders of them, and paths that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            (folder / f"{name}{suffix}").write_bytes(FILES[name])
            found.append(folder / f"{name}{suffix}")
    for name in ("list", "brackets", "half-pair"):
        place = folder / f"run-of-{name}"
        place.mkdir(exist_ok=True)
        for inside in (
            "recipe",
            "result",
            "calibration",
            "scorer",
            "stage",
            "model_index",
            "counts",
            "state",
            "summary",
        ):
            (place / f"{inside}.json").write_bytes(FILES[name])
        (place / "metrics.jsonl").write_bytes(FILES[name] + b"\n")
        (place / "cases.parquet").write_bytes(FILES["parquet"])
        (place / "edits.csv").write_bytes(FILES["table"])
        found.append(place)
    (folder / "nothing").mkdir(exist_ok=True)
    found += [folder / "nothing", folder / "missing", folder / ("long" * 80), folder / "empty.json" / "below-a-file"]
    loop = folder / "loop"
    if not loop.is_symlink():
        loop.symlink_to(loop)
    return [*found, loop]


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands with the words that call them."""
    inside = getattr(group, "commands", None)
    if inside is None:
        yield path, group
        return
    for name, command in inside.items():
        yield from commands(command, (*path, name))


def kind_of(parameter: Any) -> str:
    """path, number, choice or text."""
    if getattr(parameter, "is_flag", False):
        return "flag"
    return {"Path": "path", "int": "number", "float": "number"}.get(parameter.bare_type(), "text")


def argument_lists(words: tuple[str, ...], command: Any, paths: list[Path], out: Path) -> Iterator[list[str]]:
    """Argument lists for a command, each with one bad value; other required parameters get a missing file."""

    def given(parameter: Any, value: str) -> list[str]:
        return [value] if parameter.param_type_name == "argument" else [f"{parameter.opts[0]}={value}"]

    parameters = [one for one in command.params if one.name not in ("help", "version")]
    for bad in parameters:
        kind = kind_of(bad)
        values = {"path": [str(path) for path in paths], "number": list(NUMBERS)}.get(kind, [])
        if words in SERVE and kind != "path":
            values = []
        for value in values:
            options: list[str] = []
            positional: list[str] = []
            for one in parameters:
                if one is bad:
                    part = given(one, value)
                elif one.name == "out" and kind_of(one) == "path":
                    part = given(one, str(out / "out"))
                elif one.required:
                    part = given(one, str(out / "missing.parquet") if kind_of(one) == "path" else "1")
                else:
                    continue
                (positional if one.param_type_name == "argument" else options).extend(part)
            yield [*words, *options, "--", *positional] if positional else [*words, *options]


def outcome(arguments: list[str]) -> str:
    """ "" for a proper end, else the traceback."""

    def late(*_: object) -> None:
        raise _StillRunsError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    said, line = io.StringIO(), ["hpedit", *arguments]
    try:
        with (
            redirect_stderr(said),
            redirect_stdout(io.StringIO()),
            patch.object(sys, "argv", line),
        ):
            main()
    except SystemExit as end:
        lines = said.getvalue()
        return "" if end.code in (0, None) or "rror" in lines else f"exit {end.code} without an error: {lines[-300:]}"
    except _StillRunsError:
        return ""
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return ""


def try_all(folder: Path, only: tuple[str, ...] = (), every: int = 1) -> tuple[int, list[tuple[str, str]]]:
    """Try all commands, or those of the group `only`, or every n-th case: number tried, and those that failed."""
    for heavy in HEAVY:  # an import that the clock interrupts leaves half a module to all later cases
        importlib.import_module(heavy)
    paths = bad_paths(folder / "bad")
    tried, failed = 0, []
    for words, command in commands(typer.main.get_command(app)):
        if only and words[: len(only)] != only:
            continue
        for number, arguments in enumerate(argument_lists(words, command, paths, folder)):
            if number % every:
                continue
            tried += 1
            if found := outcome(arguments):
                failed.append((" ".join(arguments), found))
    return tried, failed


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    count, faults = try_all(place)
    for line, text in faults:
        sys.stdout.write(f"{line}\n{text}\n")
    kinds = Counter(text.strip().rsplit("\n", 1)[-1][:160] for _, text in faults)
    sys.stdout.write("".join(f"{number} x {kind}\n" for kind, number in kinds.most_common()))
    sys.stdout.write(f"{count} tried, {len(faults)} failed\n")
