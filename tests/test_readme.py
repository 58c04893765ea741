"""README's commands, extras, pins and make targets exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from hpedit.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown() -> list[str]:
    """The commands of README's blocks, without their comments."""
    lines = re.findall(r"^    (?!#)(\S.*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
    return [line for line in lines if line.split()[0] in ("hpedit", "pip", "git")]


def test_every_command_that_is_named_exists() -> None:
    commands = [line.removeprefix("hpedit ") for line in shown() if line.startswith("hpedit ")]
    commands += re.findall(r"`hpedit ([^`]+)`", README)
    listed = re.search(r"Every stage is a command of its own,\s+too: `hpedit ([^.]+)\.", README)
    assert listed
    commands += [name.strip("`\n") for name in listed[1].split(", ")]
    assert {"demo", "rate serve", "bench compare"} <= set(commands)
    for command in commands:
        words = [word for word in command.split() if re.fullmatch(r"[a-z]+", word)]
        # `hpedit init mine`: the second word is an argument where the first is no group.
        found = [CliRunner().invoke(app, [*words[:most], "--help"]).exit_code for most in (1, 2)]
        assert 0 in found, command


def test_what_is_installed_is_what_the_project_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    installs = [shlex.split(line)[2:] for line in shown() if line.startswith("pip install")]
    assert len(installs) == 3
    for words in installs:
        for word in words:
            if "==" in word:
                assert word in pins
            if word.startswith(".["):
                assert set(word[2:-1].split(",")) <= extras.keys()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
